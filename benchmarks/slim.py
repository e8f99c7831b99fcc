"""What the slim step takes off files of several kinds, with what it removed. About a minute on 2 cores.

    PYTHONPATH=. python -P benchmarks/slim.py

The networks keep their initial weights: what they learn changes no byte of what is removed. That the
outputs stay the same bit by bit is checked by the step in every build, and in tests/e2e/test_slim*.py
also in TFLite Micro and for Vela's compiler.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pipeline.steps import quantize
from pipeline.steps.slim import slim
from pipeline.workload import load_workload


def convolutions(*filters: int) -> Callable[[], Any]:
    """Return a builder: four 3×3 convolutions with batch normalization, global average pooling, dense 10."""

    def build() -> Any:
        from pipeline.keras_legacy import keras

        layers = keras.layers
        model = keras.Sequential([keras.Input((28, 28, 1))])
        for number, width in enumerate(filters):
            model.add(layers.Conv2D(width, 3, strides=2 if number == 1 else 1, use_bias=False))
            model.add(layers.BatchNormalization())
            model.add(layers.ReLU())
            if number == 2:
                model.add(layers.MaxPooling2D())
        model.add(layers.GlobalAveragePooling2D())
        model.add(layers.Dense(10))
        return model

    return build


def depthwise() -> Any:
    from pipeline.keras_legacy import keras

    layers = keras.layers
    model = keras.Sequential([keras.Input((28, 28, 1)), layers.Conv2D(8, 3, strides=2, activation="relu")])
    for width in (8, 16, 16):
        model.add(layers.DepthwiseConv2D(3, padding="same", activation="relu"))
        model.add(layers.Conv2D(width, 1, activation="relu"))
    model.add(layers.GlobalAveragePooling2D())
    model.add(layers.Dense(10))
    return model


NETWORKS: dict[str, Callable[[], Any]] = {
    "four convolutions, 6-10-12-16": convolutions(6, 10, 12, 16),
    "four convolutions, 8-14-16-20": convolutions(8, 14, 16, 20),
    "depthwise, 8-8-16-16": depthwise,
    "LeNet-5": load_workload("mnist").build_model,
    "dense 784-64-64-10": load_workload("mnist_dense").build_model,
}


def converted(build: Callable[[], Any], scheme: str) -> bytes:
    """Return the plain file of the untrained network, as the quantize step gives it."""
    from pipeline.keras_legacy import make_repeatable
    from pipeline.steps._fit import save_model

    make_repeatable(0)
    with tempfile.TemporaryDirectory() as name:
        source, out = Path(name) / "source", Path(name) / "out"
        source.mkdir()
        out.mkdir()
        save_model(build(), source)
        config = quantize.Config(scheme=scheme, calibration_samples=50)
        quantize.run(source, load_workload("mnist"), config, out, lambda progress: None)
        return (out / "model.tflite").read_bytes()


def main() -> None:
    print("| network | scheme | before | after | bytes less | of which |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name, build in NETWORKS.items():
        for scheme in ("int8", "float32"):
            before = converted(build, scheme)
            after, removed = slim(before)
            most = sorted(((kind["bytes"], what) for what, kind in removed.items()), reverse=True)[:3]
            parts = ", ".join(f"{what} {count:,}" for count, what in most)
            cells = (name, scheme, f"{len(before):,}", f"{len(after):,}", f"{len(before) - len(after):,}", parts)
            print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
