"""One trained float model through the peers' own packages and through this pipeline, side by side.

    pip install -c constraints.txt -e '.[edge-quantizer]'
    PYTHONPATH=. python -P benchmarks/peers.py [PROJECT]

PROJECT is a folder whose store is used, this one if none is given: with a trained stage in it, the
run takes about 10 minutes on 2 cores, and 2 more without. The model is LeNet-5 on MNIST, trained
once; everyone gets that Keras file (ai-edge-quantizer its plain .tflite), the same training split
and the same calibration samples, and gives a full-integer int8 file. Peers run through their
public interface with what their guides set:

    pruning   tensorflow.org/model_optimization/guide/pruning/pruning_with_keras
    QAT       tensorflow.org/model_optimization/guide/quantization/training_example, which tunes on
              1,000 images; with the whole split for 2 epochs, too, as the pruning guide does
    AI Edge   github.com/google-ai-edge/ai-edge-quantizer

Then all files are run on the test split and timed, interleaved in the same processes. Wall time is
what came after the training. Files are left in PROJECT/artifacts/peers/. Markdown goes to stdout.
"""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.benchmark import MOST_BLOCKS, ROUNDS
from pipeline.build_target import executed
from pipeline.calibration import representative_dataset
from pipeline.errors import PipelineError
from pipeline.inspect import float_leftovers, inspect_file
from pipeline.intervals import bootstrap_percentiles, interval
from pipeline.machine_lock import benchmarking, training
from pipeline.plan import BASELINE, make_plan
from pipeline.project import ARTIFACT, Project, open_project
from pipeline.report.terminal import terminal_watch
from pipeline.runner import Settings
from pipeline.runners import host
from pipeline.score_intervals import wilson_interval
from pipeline.target import load_target
from pipeline.watch import Watch
from pipeline.workload import Workload, load_workload

WORKLOAD, TARGET, SEED, CALIBRATION_SAMPLES = "mnist", "mobile", 0, 500
BATCH_SIZE, EPOCHS = 128, 2  # the pruning guide's
QAT_SAMPLES, QAT_BATCH_SIZE = 1000, 500  # the QAT guide's
TIMING_SAMPLES = 64

# The pipeline's own, after the mobile target's training: its recipe, and a student of the same teacher.
RECIPES: dict[str, tuple[dict[str, Any], ...]] = {
    "this pipeline: mobile": (
        {"step": "prune", "initial_sparsity": 0.5, "final_sparsity": 0.85, "epochs": 5},
        {"step": "quantize", "scheme": "int8"},
    ),
    "this pipeline: distilled": (
        {"step": "distill", "epochs": 20, "learning_rate": 4e-3},
        {"step": "quantize", "scheme": "int8"},
    ),
}


@dataclass(frozen=True)
class Shared:
    """What every peer starts from."""

    trained: Path  # folder with the Keras file
    float_file: Path  # its plain conversion
    workload: Workload
    calibration: np.ndarray  # float32 [n, *input_shape]

    def model(self) -> Any:
        from pipeline.steps._fit import load_model

        return load_model(self.trained)

    def split(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        samples, labels = self.workload.load(name)
        return self.workload.preprocess(samples), labels


@dataclass(frozen=True)
class Made:
    """A finished file and what it took."""

    path: Path
    seconds: float


# The peers.


def convert_int8(model: Any, calibration: np.ndarray | None) -> bytes:
    """TFLiteConverter's documented full-integer conversion; a quantization-aware model brings its own ranges."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if calibration is not None:
        converter.representative_dataset = lambda: ([sample[np.newaxis]] for sample in calibration)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def tune(model: Any, samples: np.ndarray, labels: np.ndarray, batch_size: int, epochs: int, *callbacks: Any) -> None:
    """Compile and fit as TFMOT's guides do."""
    from pipeline.keras_legacy import keras

    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer="adam", loss=loss, metrics=["accuracy"])
    model.fit(samples, labels, batch_size=batch_size, epochs=epochs, callbacks=list(callbacks), verbose=0)


def converter_alone(shared: Shared) -> bytes:
    return convert_int8(shared.model(), shared.calibration)


def tfmot_pruning(shared: Shared) -> bytes:
    from tensorflow_model_optimization.sparsity import keras as sparsity

    samples, labels = shared.split("train")
    schedule = sparsity.PolynomialDecay(
        initial_sparsity=0.50,
        final_sparsity=0.80,
        begin_step=0,
        end_step=math.ceil(len(samples) / BATCH_SIZE) * EPOCHS,
    )
    pruned = sparsity.prune_low_magnitude(shared.model(), pruning_schedule=schedule)
    tune(pruned, samples, labels, BATCH_SIZE, EPOCHS, sparsity.UpdatePruningStep())
    return convert_int8(sparsity.strip_pruning(pruned), shared.calibration)


def tfmot_qat(shared: Shared) -> bytes:
    return _qat(shared, QAT_SAMPLES, QAT_BATCH_SIZE, 1)


def tfmot_qat_whole(shared: Shared) -> bytes:
    return _qat(shared, None, BATCH_SIZE, EPOCHS)


def _qat(shared: Shared, count: int | None, batch_size: int, epochs: int) -> bytes:
    from tensorflow_model_optimization.quantization.keras import quantize_model

    samples, labels = shared.split("train")
    aware = quantize_model(shared.model())
    tune(aware, samples[:count], labels[:count], batch_size, epochs)
    return convert_int8(aware, None)


def ai_edge_quantizer(shared: Shared) -> bytes:
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_quantizer import quantizer, recipe

    ((signature, names),) = Interpreter(str(shared.float_file)).get_signature_list().items()
    quantizing = quantizer.Quantizer(str(shared.float_file), recipe.static_wi8_ai8())
    inputs = [{names["inputs"][0]: sample[np.newaxis]} for sample in shared.calibration]
    return bytes(quantizing.quantize(quantizing.calibrate({signature: inputs})).quantized_model)


PEERS: dict[str, Callable[[Shared], bytes]] = {
    "TFLiteConverter int8": converter_alone,
    "TFMOT pruning 80%, int8": tfmot_pruning,
    "TFMOT QAT, guide's 1,000 images": tfmot_qat,
    "TFMOT QAT, whole split": tfmot_qat_whole,
    "ai-edge-quantizer static int8": ai_edge_quantizer,
}


# Making, running, judging.


def make_ours(project: Project, workload: Workload, watch: Watch) -> tuple[Path, Made, dict[str, Made]]:
    """Return the trained stage's folder, its plain float32 file, and the file of each of RECIPES."""
    made: dict[str, Made] = {}
    for name, recipe in RECIPES.items():
        target = load_target(TARGET, project.root)
        target = target.model_copy(update={"recipe": (target.recipe[0], *recipe)})
        plan = make_plan(target, workload, SEED, project.root)
        with executed(plan, target, workload, project, watch) as done:
            chain, at = [], done[plan.final].stage
            while at.follows:  # all of the recipe but the training
                chain.append(done[at.name].entry.seconds)
                at = done[at.follows].stage
            made[name] = Made(done[plan.final].entry.folder / ARTIFACT, sum(chain))
            trained, plain = done[at.name].entry.folder, done[BASELINE].entry
    return trained, Made(plain.folder / ARTIFACT, plain.seconds), made


def make_theirs(shared: Shared, folder: Path, note: Callable[[str], None]) -> dict[str, Made]:
    from pipeline.keras_legacy import make_repeatable

    made = {}
    folder.mkdir(parents=True, exist_ok=True)
    for name, peer in PEERS.items():
        note(name)
        make_repeatable(SEED)
        path = folder / f"{peer.__name__}.tflite"
        started = time.perf_counter()
        with training(note), redirect_stdout(sys.stderr):  # some of them print
            path.write_bytes(peer(shared))
        made[name] = Made(path, time.perf_counter() - started)
        if leftovers := float_leftovers(inspect_file(path), float_io=False):
            note(f"{name}: not full-integer: {', '.join(leftovers)}")
    return made


def correct_answers(files: dict[str, Path], workload: Workload) -> tuple[dict[str, int], int]:
    """Return how many of the test split each file classifies correctly, and of how many."""
    samples, labels = workload.load("test")
    models = host.run(files, workload.preprocess(samples), Settings()).models
    found = {name: int((_outputs(run).argmax(axis=1) == labels).sum()) for name, run in models.items()}
    return found, len(labels)


def _outputs(run: Any) -> np.ndarray:
    return run.outputs.reshape(len(run.outputs), -1)


def timed(files: dict[str, Path], workload: Workload, note: Callable[[str], None]) -> dict[str, Any]:
    """Return the bootstrapped percentiles of each file: all of them take turns in each process."""
    samples = workload.preprocess(workload.load("validation")[0][:TIMING_SAMPLES])
    with benchmarking(note):
        blocks = [host.run(files, samples, Settings(rounds=ROUNDS, outputs=False)).models for _ in range(MOST_BLOCKS)]
    return {name: bootstrap_percentiles([block[name].times_ns for block in blocks]) for name in files}


def row(*cells: object) -> None:
    print("|", " | ".join(map(str, cells)), "|", flush=True)


def main(folder: str = ".") -> None:
    watch = terminal_watch()
    try:
        compare(open_project(Path(folder).resolve(), watch), load_workload(WORKLOAD), watch)
    except PipelineError as error:
        sys.exit(str(error))
    except ModuleNotFoundError as error:
        sys.exit(f"{error.name} is missing: pip install -c constraints.txt -e '.[edge-quantizer]'")
    finally:
        watch.close()


def compare(project: Project, workload: Workload, watch: Watch) -> None:
    import ai_edge_quantizer as installed  # noqa: F401  (asked for before minutes of training)

    trained, plain, ours = make_ours(project, workload, watch)
    calibration, _ = representative_dataset(workload, CALIBRATION_SAMPLES, SEED)
    shared = Shared(trained, plain.path, workload, calibration)
    theirs = make_theirs(shared, project.artifacts / "peers", watch.note)
    made = {"float32": plain, **theirs, **ours}
    files = {name: one.path for name, one in made.items()}
    correct, total = correct_answers(files, workload)
    times = timed(files, workload, watch.note)
    facts = {name: inspect_file(path) for name, path in files.items()}

    row("file", "bytes", "deflated", "accuracy of the file", "95% interval", "p50, µs", "95% interval", "wall time, s")
    row(*["---"] * 8)
    for name, one in made.items():
        low, high = wilson_interval(correct[name], total)
        p50 = interval(times[name].values[0], times[name].resampled[0], MOST_BLOCKS)
        row(
            name,
            f"{facts[name].size_bytes:,}",
            f"{facts[name].deflated_bytes:,}",
            f"{correct[name] / total:.2%}",
            f"{low:.2%} to {high:.2%}",
            f"{p50.value / 1e3:.1f}",
            f"{p50.low / 1e3:.1f} to {p50.high / 1e3:.1f}",
            f"{one.seconds:.1f}",
        )
    print()
    row("", "against", "right answers more", "bytes less", "deflated less", "times as fast", "95% interval", "holds")
    row(*["---"] * 8)
    for our in ours:
        held = []
        for their in theirs:
            speed = interval(
                times[their].values[0] / times[our].values[0],
                times[their].resampled[0] / times[our].resampled[0],  # resample for resample: they are paired
                MOST_BLOCKS,
            )
            more = correct[our] - correct[their]
            less = facts[their].size_bytes - facts[our].size_bytes
            deflated_less = facts[their].deflated_bytes - facts[our].deflated_bytes
            failed = [
                claim
                for claim, holds in {
                    "less accurate": more >= 0,
                    "not smaller": less > 0,
                    "slower": speed.high >= 1,  # slower is what the whole interval says
                }.items()
                if not holds
            ]
            held.append(not failed)
            shown = (f"{more:+}", f"{less:+,}", f"{deflated_less:+,}", f"{speed.value:.2f}×")
            row(our, their, *shown, f"{speed.low:.2f} to {speed.high:.2f}", ", ".join(failed) or "yes")
        row(our, "each", "", "", "", "", "", "yes" if all(held) else f"no: {held.count(False)} of {len(held)} do not")


if __name__ == "__main__":
    main(*sys.argv[1:])
