"""Distillation: the model that comes in teaches a smaller student (Hinton, Vinyals, Dean 2015,
arXiv:1503.02531). A student of the teacher's own architecture, `student = "same"`, is a born-again
network (Furlanello et al. 2018, arXiv:1805.04770); `student = "narrow"` is the teacher itself after
structured pruning, as `prune_channels` cuts it, which then learns from the whole one.

    loss = alpha · T² · KL(softmax(teacher / T) ‖ softmax(student / T)) + (1 − alpha) · CE(labels, student)

T² keeps the soft part's gradients in proportion to the hard part's when T changes. The teacher runs
in inference mode on the very batch, augmented, that the student sees.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipeline.errors import BadWorkload, UnknownName

if TYPE_CHECKING:
    from pipeline.workload import Workload

CONSUMES = "keras"
PRODUCES = "keras"
LIBRARIES = ("tensorflow", "tf-keras", "numpy")

SAME, NARROW = "same", "narrow"


class Config(BaseModel):
    """Who learns and how; settings of the training left out are the workload's own TRAINING."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    student: str = Field(
        "build_student",
        min_length=1,
        description="Function of the workload's module that returns the untrained student; or same: the teacher's "
        "architecture, freshly initialized; or narrow: the teacher without its less important channels.",
    )
    keep_ratio: float | None = Field(
        None, gt=0, lt=1, description="For the student narrow: share of the channels that every layer keeps."
    )
    temperature: float = Field(4.0, gt=0, le=1000, description="Divides the logits of both in the soft part.")
    alpha: float = Field(0.7, ge=0, le=1, description="Weight of the soft part; the labels have the rest.")
    epochs: int | None = Field(None, gt=0, le=10_000, description="Passes over the training split.")
    batch_size: int | None = Field(None, gt=0, le=65_536, description="Samples a step.")
    learning_rate: float | None = Field(None, gt=0, le=10, description="Adam's highest learning rate.")
    learning_rate_schedule: Literal["constant", "cosine"] | None = Field(
        None, description="Constant, or cosine decay to zero over the whole run."
    )
    seed: int = Field(0, ge=0, lt=2**31, description="Seed of weights, order and augmentation.")

    @model_validator(mode="after")
    def _ratio_fits(self) -> Config:
        if (self.keep_ratio is None) == (self.student == NARROW):
            raise ValueError(
                f"keep_ratio {self.keep_ratio} does not go with student {self.student!r}; "
                f"expected a ratio with the student {NARROW!r} and with no other"
            )
        return self


def run(source: Path, workload: Workload, config: Config, out: Path, report: Any) -> dict[str, Any]:
    """Write the student's `model.h5` into `out`; return parameters and validation accuracy of both.

    The history's `loss` is the cross-entropy with the labels, as `val_loss` is. Raises UnknownName
    for a function that the workload lacks, BadWorkload for a student that is unlike or larger.
    """
    from pipeline.keras_legacy import make_repeatable
    from pipeline.steps._fit import fit, load_model, save_model, validation_score
    from pipeline.workload import Training

    make_repeatable(config.seed)
    teacher = load_model(source)
    student = build_student(workload, teacher, config)
    given = config.model_dump(include=set(Training.model_fields), exclude_none=True)
    facts = fit(
        learner(student, teacher, config, workload),
        workload,
        workload.training.model_copy(update=given),
        config.seed,
        report,
    )
    save_model(student, out)
    return {
        "student": config.student,
        "keep_ratio": config.keep_ratio,
        "teacher_parameters": teacher.count_params(),
        "parameters": student.count_params(),
        f"teacher_validation_{workload.metric}": validation_score(teacher, workload),
        f"validation_{workload.metric}": validation_score(student, workload),
        **facts,
    }


def build_student(workload: Workload, teacher: Any, config: Config) -> Any:
    """Return the student that the workload's function gives, or that `same` or `narrow` stands for."""
    from pipeline.keras_legacy import keras

    name = config.student
    if config.keep_ratio is not None:
        return _narrow(teacher, config.keep_ratio)
    if name == SAME:
        return keras.models.clone_model(teacher)  # a clone has initial weights
    builder = getattr(workload.module, name, None)
    if not callable(builder):
        known = [found for found, value in vars(workload.module).items() if "build" in found and callable(value)]
        raise UnknownName("student", name, [*known, SAME, NARROW], where=str(workload.source))
    student = builder()
    where = f"{workload.source}: {name}()"
    received, expected = _shapes(student), _shapes(teacher)
    if received != expected:
        raise BadWorkload(
            f"{where} does not take or give what the teacher does",
            received=f"{type(student).__module__}.{type(student).__name__}, {received}",
            expected=f"a tf_keras model that is built, {expected}",
            fix="give the student the workload's INPUT_SHAPE and one logit a label",
        )
    if student.count_params() > teacher.count_params():
        raise BadWorkload(
            f"{where} is larger than its teacher",
            received=f"{student.count_params():,} parameters",
            expected=f"at most the teacher's {teacher.count_params():,}",
            fix="make the student smaller, or take the distill step out of the recipe",
        )
    return student


def _narrow(teacher: Any, keep_ratio: float) -> Any:
    """Return the teacher with this share of each layer's channels, the most important ones, and their weights."""
    from pipeline.steps._channel_graph import cut, importance, trace
    from pipeline.steps.prune_channels import refuse_unprunable, width_for

    graph = trace(teacher)
    refuse_unprunable(graph)
    widths = [width_for(keep_ratio, len(group.channels), 1) for group in graph.groups]
    return cut(teacher, graph, graph.kept(widths, importance(teacher, graph)))


def _shapes(model: Any) -> str:
    return f"input {getattr(model, 'input_shape', None)}, output {getattr(model, 'output_shape', None)}"


def distillation_loss(teacher_logits: Any, student_logits: Any, temperature: float) -> Any:
    """Return T² · KL(teacher ‖ student) at temperature T, averaged over the batch [n, classes]."""
    from pipeline.keras_legacy import tf

    taught = tf.nn.log_softmax(teacher_logits / temperature)
    learned = tf.nn.log_softmax(student_logits / temperature)
    divergence = tf.reduce_sum(tf.exp(taught) * (taught - learned), axis=-1)
    return temperature**2 * tf.reduce_mean(divergence)


def learner(student: Any, teacher: Any, config: Config, workload: Workload) -> Any:
    """Return a model that computes as the student does and learns from labels and teacher.

    Where outputs are no logits of one class each, the soft part is the mean squared distance between the two.
    """
    from pipeline.keras_legacy import keras, tf

    of_classes = workload.task_name == "classification"

    class Learner(keras.Model):
        def train_step(self, batch: Any) -> Any:
            samples, labels = batch
            teacher_logits = teacher(samples, training=False)
            with tf.GradientTape() as tape:
                logits = self(samples, training=True)
                soft = (
                    distillation_loss(teacher_logits, logits, config.temperature)
                    if of_classes
                    else tf.reduce_mean(tf.square(teacher_logits - logits))
                )
                hard = self.compute_loss(samples, labels, logits)
                loss = config.alpha * soft + (1 - config.alpha) * hard
            self.optimizer.minimize(loss, self.trainable_variables, tape=tape)
            return self.compute_metrics(samples, labels, logits, None)

    return Learner(student.inputs, student.outputs)
