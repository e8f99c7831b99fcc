"""What a check says of files, without building what they describe."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pipeline.check import check
from pipeline.documents import CheckDocument
from pipeline.errors import BadModelFile, UnknownName
from tests.unit.test_model_file import keras_file

ROOT = Path(__file__).parents[2]
DATA = ROOT / "tests" / "data"
DEPTHWISE = "DepthwiseConv2D"
ALL = ["browser", "ethos-u55", "microcontroller", "mobile"]


def layer(kind: str, name: str, inbound: str = "", module: str = "keras.layers", **config: Any) -> dict[str, Any]:
    history = {"class_name": "__keras_tensor__", "config": {"keras_history": [inbound, 0, 0]}}
    nodes = [{"args": [history], "kwargs": {}}] if inbound else []
    return {"module": module, "class_name": kind, "config": {"name": name, **config}, "inbound_nodes": nodes}


def functional(*layers: dict[str, Any], name: str = "model", outputs: int = 1) -> dict[str, Any]:
    places = [[one["config"]["name"], 0, 0] for one in layers[-outputs:]]
    config = {"name": name, "layers": list(layers), "output_layers": places}
    return {"module": "keras", "class_name": "Functional", "config": config}


def first(*shape: int | None) -> dict[str, Any]:
    return layer("InputLayer", "input", batch_shape=[None, *shape])


def file_of(path: Path, config: dict[str, Any], **weights: tuple[tuple[int, ...], ...]) -> Path:
    """Write a Keras 3 file whose weights have these shapes, by the layers' names."""
    inside = path.with_suffix(".weights")
    with h5py.File(inside, "w") as file:
        file.create_group("layers")
        for number, (name, shapes) in enumerate(weights.items()):
            group = file.create_group(f"layers/{number}/vars")
            group.attrs["name"] = name
            for index, shape in enumerate(shapes):
                group[str(index)] = np.zeros(shape, np.float32)
        file["optimizer/vars/0"] = np.zeros(1000)
    return keras_file(path, config, **{"model.weights.h5": inside.read_bytes()})


def checked(path: Path, *targets: str, workload: str = "") -> CheckDocument:
    return check(str(path), list(targets or ALL), workload, ROOT)


def small(path: Path, *more: dict[str, Any], **weights: Any) -> Path:
    convolution = layer("Conv2D", "conv", "input", activation="relu")
    shapes = {"conv": ((3, 3, 1, 8), (8,)), **weights}
    return file_of(path, functional(first(28, 28, 1), convolution, *more), **shapes)


def test_a_plain_network_is_possible_everywhere(tmp_path: Path) -> None:
    more = [layer("BatchNormalization", "bn", "conv"), layer("Flatten", "flat", "bn"), layer("Dense", "logits", "flat")]
    found = checked(small(tmp_path / "m.keras", *more, bn=((8,),) * 4, logits=((5408, 10), (10,))), workload="mnist")
    assert found.possible
    assert found.kind == "Keras 3 .keras"
    assert found.inputs == [[None, 28, 28, 1]]
    assert found.parameters == 80 + 32 + 54090  # the optimizer's are none of the model's
    assert found.estimates is not None
    assert (found.estimates.float32_bytes, found.estimates.int8_bytes) == (4 * 54202, 54202)
    assert found.operators == ["CONV_2D", "FULLY_CONNECTED", "RESHAPE"]  # the normalization is folded
    assert not any(one.not_pruned + one.not_quantize_aware + one.not_int8 for one in found.layers)
    assert [one.parameters for one in found.layers] == [None, 80, 32, None, 54090]
    # An estimate decides nothing: it warns.
    tight = next(row for row in found.targets if row.target == "microcontroller")
    assert tight.possible
    assert "size_bytes is 32,768, and the weights take about 54,202 bytes in int8 (an estimate)" in tight.warnings


@pytest.mark.parametrize(
    ("kind", "weights", "reasons"),
    [
        (
            "DepthwiseConv2D",
            ((3, 3, 8, 1),),
            ("TFMOT prunes no DepthwiseConv2D", "no DepthwiseConv2D is clustered", ""),
        ),
        ("SeparableConv2D", ((3, 3, 8, 1), (1, 1, 8, 8)), ("", "no SeparableConv2D is clustered", "")),
        ("LayerNormalization", ((8,), (8,)), ("", "", "TFMOT's 8-bit scheme knows no LayerNormalization")),
        ("MaxPooling2D", (), ("", "", "")),
    ],
)
def test_layers_that_a_step_leaves_out(kind: str, weights: Any, reasons: tuple[str, str, str], tmp_path: Path) -> None:
    found = checked(small(tmp_path / "m.keras", layer(kind, "odd", "conv"), odd=weights), "mobile")
    odd = found.layers[-1]
    assert (odd.not_pruned, odd.not_clustered, odd.not_quantize_aware) == reasons
    assert found.possible
    warned = [text for text in found.targets[0].warnings if "prune step" in text]
    assert bool(warned) == bool(reasons[0])


def test_a_normalization_that_nothing_folds(tmp_path: Path) -> None:
    more = [layer("MaxPooling2D", "pool", "conv"), layer("BatchNormalization", "bn", "pool")]
    found = checked(small(tmp_path / "m.keras", *more), "mobile")
    assert "right behind a layer with a kernel" in found.layers[-1].not_quantize_aware
    assert {"MUL", "ADD"} <= set(found.operators)


def test_layers_of_a_model_within_the_model(tmp_path: Path) -> None:
    inner = functional(first(28, 28, 1), layer("Conv2D", "deep", "input"), name="inner")
    config = functional(first(28, 28, 1), inner | {"inbound_nodes": []})
    deep = checked(file_of(tmp_path / "m.keras", config, deep=((3, 3, 1, 8),)), "mobile").layers[-1]
    assert deep.name == "deep"
    assert "inside the model inner" in deep.not_pruned
    assert "inside the model inner" in deep.not_quantize_aware


@pytest.mark.parametrize(
    ("kind", "config", "impossible", "text"),
    [
        ("ELU", {}, set(ALL), "keeps ELU in float"),
        ("Conv2D", {"activation": "elu"}, set(ALL), "keeps elu in float"),
        ("LSTM", {}, set(ALL), "keeps LSTM in float"),
        ("Activation", {"activation": "gelu"}, {"microcontroller"}, "TFLite Micro has no GELU"),
        ("RepeatVector", {}, {"microcontroller"}, "TFLite Micro has no TILE"),
        ("StringLookup", {}, set(ALL), "TFLite has no operators of its own for it"),
    ],
)
def test_what_makes_a_target_impossible(
    kind: str, config: dict[str, Any], impossible: set[str], text: str, tmp_path: Path
) -> None:
    found = checked(small(tmp_path / "m.keras", layer(kind, "odd", "conv", **config)))
    assert {row.target for row in found.targets if not row.possible} == impossible
    assert not found.possible
    assert all(any(text in obstacle for obstacle in row.obstacles) for row in found.targets if not row.possible)


def test_what_is_not_known_beforehand_is_said_so(tmp_path: Path) -> None:
    found = checked(small(tmp_path / "m.keras", layer("RMSNormalization", "rms", "conv")), "mobile")
    assert found.layers[-1].operators is None
    texts = [finding.text for finding in found.findings]
    assert any("only once they are converted: rms, a RMSNormalization" in text for text in texts)
    assert any("new in Keras 3" in text for text in texts)
    assert found.possible


@pytest.mark.parametrize(
    ("config", "workload", "text"),
    [
        (functional(first(None, None, 3), layer("Conv2D", "conv", "input")), "", "leaves sizes open"),
        (functional(first(32, 32, 3), layer("Conv2D", "conv", "input")), "mnist", "where the workload mnist gives"),
        (functional(first(8), layer("Dense", "a", "input"), layer("Dense", "b", "input"), outputs=2), "", "2 outputs"),
    ],
)
def test_shapes_that_no_target_takes(config: dict[str, Any], workload: str, text: str, tmp_path: Path) -> None:
    found = checked(file_of(tmp_path / "m.keras", config), workload=workload)
    assert not any(row.possible for row in found.targets)
    assert any(text in finding.text and finding.severity == "obstacle" for finding in found.findings)


def test_legacy_files_are_read_as_well(tmp_path: Path) -> None:
    """Legacy Keras calls shapes and inbound nodes otherwise."""
    conv = {"class_name": "Conv2D", "config": {"name": "conv", "batch_input_shape": [None, 8, 8, 3]}}
    normal = {"class_name": "BatchNormalization", "config": {"name": "bn"}}
    config = {"class_name": "Sequential", "config": {"name": "model", "layers": [conv, normal]}}
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["model_config"] = json.dumps(config)
        group = file.create_group("model_weights/conv")
        group.attrs["weight_names"] = ["conv/kernel:0"]
        group["conv/kernel:0"] = np.zeros((3, 3, 3, 4), np.float32)
    found = checked(tmp_path / "m.h5", "mobile")
    assert found.kind == "legacy Keras .h5"
    assert found.inputs == [[None, 8, 8, 3]]
    assert found.layers[0].parameters == found.parameters == 108
    assert found.operators == ["CONV_2D"]


def test_code_and_damage_are_refused(tmp_path: Path) -> None:
    code = functional(first(8), layer("Lambda", "odd", "input", function={"class_name": "__lambda__", "config": {}}))
    with pytest.raises(BadModelFile) as caught:
        checked(file_of(tmp_path / "lambda.keras", code))
    assert "odd, a Lambda" in caught.value.received
    with pytest.raises(BadModelFile):
        checked(
            file_of(tmp_path / "strange.keras", {"class_name": "Functional", "config": {"layers": [{"config": 3}]}})
        )
    for name in ("empty.h5", "empty.keras", "empty.tflite"):
        (tmp_path / name).write_bytes(b"")
        with pytest.raises(BadModelFile):
            checked(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "torch.keras", "w") as archive:
        archive.writestr("data.pkl", b"")
    with pytest.raises(BadModelFile) as caught:
        checked(tmp_path / "torch.keras")
    assert "pickle" in caught.value.received
    with pytest.raises(UnknownName) as unknown:
        checked(Path("mobilenet_v9"))
    assert "mobilenet_v" in unknown.value.fix


def test_a_tflite_is_quantized_or_is_already() -> None:
    float_file = checked(DATA / "tiny_float32.tflite")
    assert float_file.possible
    assert float_file.size_bytes == (DATA / "tiny_float32.tflite").stat().st_size
    assert any("cannot go through" in text for text in float_file.targets[-1].warnings)
    quantized = checked(DATA / "tiny_int8.tflite", "mobile")
    assert not quantized.possible
    assert "quantized already" in quantized.targets[0].obstacles[0]


def test_a_target_that_its_runner_cannot_serve(tmp_path: Path) -> None:
    text = (ROOT / "targets" / "browser.toml").read_text(encoding="utf-8")
    (tmp_path / "targets").mkdir()
    (tmp_path / "targets" / "page.toml").write_text(text.replace('"float32"', '"int8"'), encoding="utf-8")
    found = check(str(small(tmp_path / "m.keras")), ["page"], "", tmp_path)
    assert "LiteRT.js takes and gives float32 alone" in found.targets[0].obstacles[0]
