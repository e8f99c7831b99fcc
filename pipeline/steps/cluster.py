"""Weight clustering, then fine-tuning of the shared values: the weight sharing of Han, Mao, Dally
2016, "Deep Compression" (arXiv:1510.00149), through TensorFlow Model Optimization's wrappers.

Each kernel's weights take at most `number_of_clusters` distinct values, so that a deflated file
shrinks; its raw size stays, since TFLite stores every weight. Zeros of a pruned kernel stay zero,
and zero is then one of the values. TFMOT would force zeros into a kernel that has none, and loses
them in a kernel that it does not wrap, so both are decided kernel by kernel and checked at the end.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from pipeline.errors import StepFailed
from pipeline.steps._fine_tuning import FineTuning

if TYPE_CHECKING:
    from pipeline.workload import Workload

CONSUMES = "keras"
PRODUCES = "keras"
LIBRARIES = ("tensorflow", "tf-keras", "tensorflow-model-optimization", "numpy")

# Whose kernels TFMOT can cluster and an inspector finds again in the file. Depthwise kernels are
# not among them: TFMOT leaves them alone, since they lose accuracy that training does not restore.
CLUSTERED_LAYERS = ("Conv1D", "Conv2D", "Conv2DTranspose", "Dense")
_INITIALIZATIONS = {"kmeans++": "KMEANS_PLUS_PLUS", "linear": "LINEAR", "density": "DENSITY_BASED"}


class Config(FineTuning):
    """How many values the weights of a kernel share, and how these are found."""

    number_of_clusters: int = Field(
        16, ge=2, le=256, description="Distinct values in each clustered kernel; in a pruned one, zero is among them."
    )
    cluster_centroids_init: Literal["kmeans++", "linear", "density"] = Field(
        "kmeans++",
        description="First values: drawn from the weights far from each other, evenly spaced, or by the weights' "
        "distribution.",
    )
    learning_rate: float = Field(1e-4, gt=0, le=10, description="Adam's highest learning rate.")
    kernel_elements_min: int = Field(
        1000, ge=0, description="Kernels with fewer weights stay as they are: they hold next to nothing."
    )


def run(source: Path, workload: Workload, config: Config, out: Path, report: Any) -> dict[str, Any]:
    """Write the clustered, stripped `model.h5` into `out`; return losses, values and zeros per kernel.

    Raises StepFailed when the model has no kernel that can be clustered, or when a kernel ends
    with more values or fewer zeros than it may.
    """
    from pipeline.keras_legacy import keras, make_repeatable

    from tensorflow_model_optimization.clustering import keras as clustering  # isort: skip

    from pipeline.steps._fit import fit, load_model, save_model
    from pipeline.steps._promises import is_pruned, kernel_zeros, kernels_of, refuse_lost_zeros, zero_share

    make_repeatable(config.seed)
    model = load_model(source)
    before = kernels_of(model)
    chosen, unclustered = choose_layers(model, config)
    initialization = clustering.CentroidInitialization[_INITIALIZATIONS[config.cluster_centroids_init]]

    def wrap(layer: Any) -> Any:
        if layer.name not in chosen:
            return layer
        return clustering.cluster_weights(
            layer,
            number_of_clusters=config.number_of_clusters,
            cluster_centroids_init=initialization,
            preserve_sparsity=is_pruned(before[layer.name]),
        )

    wrapped = keras.models.clone_model(model, clone_function=wrap)
    facts = fit(wrapped, workload, config.training(), config.seed, report)
    stripped = clustering.strip_clustering(wrapped)
    after = kernels_of(stripped)
    values = distinct_values({name: after[name] for name in chosen}, config.number_of_clusters)
    refuse_lost_zeros(
        "cluster",
        before.values(),
        after.values(),
        "cluster the pruned kernels as well, which keeps their zeros: lower `kernel_elements_min` or "
        f"`number_of_clusters`; left alone were {_in_words(unclustered)}",
    )
    save_model(stripped, out)
    promises: dict[str, Any] = {
        "clusters": {
            "number": config.number_of_clusters,
            "kernel_elements": sorted(after[name].size for name in chosen),
        }
    }
    if any(is_pruned(kernel) for kernel in before.values()):
        promises["kernel_zeros"] = kernel_zeros(after.values())  # small weights may have joined the cluster of zero
    return {
        "clusters": values,
        "zero_fraction": {name: zero_share(kernel) for name, kernel in after.items()},
        "unclustered": unclustered,
        "promises": promises,
        **facts,
    }


def choose_layers(model: Any, config: Config) -> tuple[list[str], dict[str, str]]:
    """Return the layers to cluster, and {layer: reason} of those whose kernels stay as they are.

    Raises StepFailed when there is nothing to cluster, or too few clusters for a pruned kernel.
    """
    import numpy as np

    from pipeline.keras_legacy import keras
    from pipeline.steps._promises import is_pruned, kernels_of

    supported = [getattr(keras.layers, name) for name in CLUSTERED_LAYERS]
    kernels = kernels_of(model)
    chosen, unclustered = [], {}
    for layer in model.layers:
        name, kernel = layer.name, kernels.get(layer.name)
        if kernel is None:
            continue
        nonzeros = int(np.count_nonzero(kernel))
        if type(layer) not in supported:
            unclustered[name] = f"a kernel of {type(layer).__name__}, which cannot be clustered"
        elif kernel.size < config.kernel_elements_min:
            unclustered[name] = f"{kernel.size} weights, fewer than {config.kernel_elements_min}"
        elif nonzeros < 2 * config.number_of_clusters:
            unclustered[name] = f"{nonzeros} weights that are not zero, fewer than two a cluster"
        elif is_pruned(kernel) and config.number_of_clusters == 2:
            raise StepFailed(
                f"two clusters are too few for the pruned kernel of {name}",
                received="number_of_clusters = 2",
                expected="at least 3: zero, a negative and a positive value",
                fix="raise `number_of_clusters` of the cluster step, or take the prune step out of the recipe",
            )
        else:
            chosen.append(name)
    if not chosen:
        raise StepFailed(
            "the model has no kernel that can be clustered",
            received=_in_words(unclustered),
            expected=f"a layer of {', '.join(CLUSTERED_LAYERS)} with {config.kernel_elements_min} weights or more",
            fix="take the cluster step out of the recipe, or lower `kernel_elements_min` or `number_of_clusters`",
        )
    return chosen, unclustered


def distinct_values(kernels: dict[str, Any], number_of_clusters: int) -> dict[str, int]:
    """Return {layer: distinct values of its kernel}. Raises StepFailed where they are too many, or not finite."""
    import numpy as np

    values = {name: np.unique(kernel) for name, kernel in kernels.items()}
    for name, found in values.items():
        if found.size > number_of_clusters or not np.isfinite(found).all():
            raise StepFailed(
                f"the kernel of {name} did not end clustered",
                received=f"{found.size} distinct values from {found.min()} to {found.max()}",
                expected=f"at most {number_of_clusters} finite ones",
                fix="lower `learning_rate` of the cluster step, or choose another `cluster_centroids_init`",
            )
    return {name: int(found.size) for name, found in values.items()}


def _in_words(unclustered: dict[str, str]) -> str:
    return "; ".join(f"{name}: {reason}" for name, reason in unclustered.items()) or "no kernels"
