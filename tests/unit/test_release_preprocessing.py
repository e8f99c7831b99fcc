"""A picture's way into the file as a table: what a consumer looks up is what the pipeline feeds, value by value."""

from __future__ import annotations

from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.flatbuffer import read_model
from pipeline.release.preprocessing import preprocessing
from pipeline.runners._host_child import quantized
from pipeline.workload import Training, Workload, load_workload

DATA = Path(__file__).parents[1] / "data"


def workload(preprocess: Any, shape: tuple[int, ...] = (28, 28, 1), **more: Any) -> Workload:
    module = ModuleType("made_up")
    raw = more.pop("raw", np.random.default_rng(0).integers(0, 256, (8, *shape), np.uint8))
    vars(module).update(
        DESCRIPTION="made up",
        LABELS=("a", "b"),
        INPUT_SHAPE=shape,
        INPUT_RANGE=(0.0, 1.0),
        TRAINING=Training(epochs=1),
        load=lambda split: (raw, np.zeros(len(raw), int)),
        preprocess=preprocess,
        __file__=__file__,
        **more,
    )
    return Workload("made_up", module)


def scaled(samples: np.ndarray) -> np.ndarray:
    return samples.astype(np.float32) / np.float32(255)


@pytest.mark.parametrize("file", ["tiny_int8", "tiny_float32"])
def test_the_table_has_what_the_pipeline_feeds(file: str) -> None:
    model = DATA / f"{file}.tflite"
    learned = load_workload("mnist")
    document = preprocessing(learned, model)
    samples, _ = learned.load("test")
    tensor = (graph := read_model(model).subgraphs[0]).tensors[graph.inputs[0]]
    details = {
        "dtype": tensor.dtype,
        "quantization": (tensor.scale[0], tensor.zero_point[0]) if tensor.scale else (0, 0),
    }
    fed = quantized(learned.preprocess(samples[:200]), details)
    table = np.array(document["table"][0], document["input"]["dtype"])
    assert np.array_equal(table[samples[:200, ..., 0]], fed[..., 0])
    assert document["input"]["shape"] == [28, 28, 1]
    assert document["input"]["mode"] == "L"
    assert document["resize"]["fit"] == "pad"
    assert document["output"]["task"] == "classification"


def test_each_channel_has_its_own_table() -> None:
    mean = np.float32([0.1, 0.2, 0.3])
    learned = workload(lambda samples: scaled(samples) - mean, (4, 4, 3))
    document = preprocessing(learned, DATA / "tiny_float32.tflite")
    assert [row[0] for row in document["table"]] == pytest.approx(-mean)
    assert document["input"]["mode"] == "RGB"


@pytest.mark.parametrize(
    ("learned", "reason"),
    [
        (workload(lambda samples: scaled(samples) - scaled(samples).mean((1, 2, 3), keepdims=True)), "pixel by pixel"),
        (workload(lambda samples: scaled(samples)[:, ::-1]), "pixel by pixel"),
        (workload(lambda samples: samples, (6,), raw=np.zeros((3, 6), np.float32)), "no pictures"),
        (workload(lambda samples: samples, raw=np.zeros((3, 28, 28, 1), np.float32)), "no pictures"),
    ],
)
def test_what_is_no_table_says_why(learned: Workload, reason: str) -> None:
    document = preprocessing(learned, DATA / "tiny_float32.tflite")
    assert document["table"] is None
    assert document["resize"] is None
    assert reason in document["reason"]


def test_a_reader_of_pictures_says_how_it_fits_them() -> None:
    class Reader:
        decoding = SimpleNamespace(resize="crop")

        def decode_image(self, image: Any) -> None: ...

    assert preprocessing(workload(scaled, decode_image=Reader().decode_image), DATA / "tiny_int8.tflite")["resize"] == {
        "fit": "crop",
        "resample": "bilinear",
        "background": 0,
    }
    own = preprocessing(workload(scaled, decode_image=lambda image: None), DATA / "tiny_int8.tflite")
    assert own["resize"] is None  # only the workload's own code knows
    assert own["table"] is not None
