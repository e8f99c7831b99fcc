"""The parts that show what a file is and does, on small files: graph, ranges, histograms, noise, answers, curves."""

from __future__ import annotations

import base64
import io
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.anatomy.answers import SHOWN_MAX, confusion, disagreements
from pipeline.anatomy.calibration_coverage import classes_of
from pipeline.anatomy.curves import curves_of
from pipeline.anatomy.dissect import FLOAT_FILE, SAMPLES_FILE, Dissection, dissect
from pipeline.anatomy.float_twin import float_stage, trained_since
from pipeline.anatomy.graph import graph_of
from pipeline.anatomy.grids import grid_of
from pipeline.anatomy.histograms import BINS, real_values, weight_histograms
from pipeline.anatomy.layer_names import with_layers
from pipeline.anatomy.pictures import SIDE_MAX, data_uri
from pipeline.documents import StageRecord
from pipeline.flatbuffer import read_model
from pipeline.plan import BASELINE
from tests.unit.test_inspect import T, tensor, write
from tests.unit.test_layer_errors import edited

DATA = Path(__file__).parents[1] / "data"
FLOAT, INT8, DEPTHWISE = (DATA / f"{name}.tflite" for name in ("tiny_float32", "tiny_int8", "depthwise_int8"))


def stage(name: str, **facts: Any) -> StageRecord:
    return StageRecord(name=name, key="0" * 64, state="hit", seconds=1.0, facts=facts)


def dissected(folder: Path, model: Path, float_file: Path | None = FLOAT, count: int = 30) -> Dissection:
    folder.mkdir(exist_ok=True)
    if float_file:
        shutil.copy(float_file, folder / FLOAT_FILE)
    if count:
        np.save(folder / SAMPLES_FILE, np.random.default_rng(0).random((count, 28, 28, 1), np.float32))
    return dissect(model, folder)


def test_a_branching_graph_says_what_follows_what() -> None:
    nodes = graph_of(DEPTHWISE, with_layers(DEPTHWISE, []))
    names = [node.name for node in nodes]
    assert names[0] == "INPUT"
    assert nodes[0].follows == []
    assert nodes[0].shape == (1, 28, 28, 1)
    added = nodes[names.index("ADD")]
    assert len(added.follows) == 2
    assert all(place < names.index("ADD") for place in added.follows)
    assert nodes[names.index("CONCATENATION")].follows[0] == names.index("ADD")
    assert {node.weight_dtype for node in nodes if node.name == "CONV_2D"} == {"int8"}
    assert not any(node.computes_in_float or node.float_leftover for node in nodes)


def test_a_graph_of_several_inputs_and_outputs(tmp_path: Path) -> None:
    shape = [1, 4]
    graph = ([tensor(T.FLOAT32, shape)] * 5, [("ADD", [0, 1], [2]), ("MUL", [2, 0], [3]), ("RELU", [2], [4])])
    path = write(tmp_path / "m.tflite", (*graph, [0, 1], [3, 4]))
    nodes = graph_of(path, with_layers(path, []))
    assert [(node.name, node.follows) for node in nodes] == [
        ("INPUT", []),
        ("INPUT", []),
        ("ADD", [0, 1]),
        ("MUL", [2, 0]),
        ("RELU", [2]),
    ]
    parts = dissected(tmp_path / "d", path, path)
    assert "2 inputs" in parts.missing["layer_noise"]
    assert "2 inputs" in parts.missing["calibration"]
    assert len(parts.graph) == 5


def test_only_what_the_target_did_not_ask_for_is_a_float_leftover() -> None:
    path = DATA / "tiny_int8_float_io.tflite"
    nodes = graph_of(path, with_layers(path, []))
    assert {node.name for node in nodes if node.computes_in_float} == {"QUANTIZE", "DEQUANTIZE"}
    assert not any(node.float_leftover for node in nodes)
    assert {node.name for node in graph_of(FLOAT, with_layers(FLOAT, [])) if node.float_leftover} == {
        *("CONV_2D", "RESHAPE", "FULLY_CONNECTED")
    }


def test_a_grid_is_what_the_format_can_hold() -> None:
    def of(dtype: str, scale: tuple[float, ...], points: tuple[int, ...]) -> tuple[float, ...] | None:
        return grid_of(SimpleNamespace(dtype=dtype, scale=scale, zero_point=points))  # type: ignore[arg-type]

    assert of("int8", (0.5,), (-128,)) == (0, 127.5, 0.5)
    assert of("uint8", (0.5,), (128,)) == (-64, 63.5, 0.5)
    assert of("int4", (1.0, 2.0), (0, 0)) == (-16, 14, 2)
    assert of("int16", (1.0,), ()) == (-32768, 32767, 1)
    assert of("int32", (1.0,), (0,)) is None
    assert of("float32", (), ()) is None


def test_weights_are_counted_as_the_real_values_that_they_are(tmp_path: Path) -> None:
    found = {one.name: one for one in weight_histograms(INT8, with_layers(INT8, []))}
    assert found.keys() == {"conv2d", "dense"}
    for one in found.values():
        assert len(one.edges) == len(one.counts) + 1 <= BINS + 1
    assert sum(found["dense"].counts) == 720
    kernel = next(tensor for tensor in read_model(INT8).subgraphs[0].tensors if tensor.name.endswith("MatMul1"))
    original = next(tensor for tensor in read_model(FLOAT).subgraphs[0].tensors if tensor.name.endswith("MatMul1"))
    values = real_values(kernel)
    # Order aside; a scale for each of the ten outputs.
    assert values is not None
    assert len(kernel.scale) == 10
    expected = np.sort(original.stored_values())
    assert np.abs(np.sort(values) - expected).max() <= max(kernel.scale)


def test_of_one_scale_each_bin_holds_as_many_steps(tmp_path: Path) -> None:
    kernel = tensor(T.INT8, [1, 256], np.arange(-128, 128).astype(np.int8), scale=[0.25])
    tensors = [tensor(T.INT8, [1, 256], scale=[1.0]), kernel, tensor(T.INT8, [1, 1], scale=[1.0])]
    path = write(tmp_path / "m.tflite", (tensors, [("FULLY_CONNECTED", [0, 1, -1], [2])], [0], [2]))
    (found,) = weight_histograms(path, with_layers(path, []))
    assert found.counts == [4] * 64
    assert (found.grid_low, found.grid_high, found.grid_step) == (-32, 31.75, 0.25)


def test_a_sparse_kernels_gaps_are_zeros(tmp_path: Path) -> None:
    sparse = tensor(T.FLOAT32, [2, 64], np.ones(5, np.float32), sparse=True)
    tensors = [tensor(T.FLOAT32, [1, 64]), sparse, tensor(T.FLOAT32, [1, 2])]
    path = write(tmp_path / "m.tflite", (tensors, [("FULLY_CONNECTED", [0, 1, -1], [2])], [0], [2]))
    (found,) = weight_histograms(path, with_layers(path, []))
    assert (found.counts[0], found.counts[-1], sum(found.counts)) == (123, 5, 128)


def test_parts_of_a_quantized_file_against_its_float_file(tmp_path: Path) -> None:
    parts = dissected(tmp_path, INT8)
    assert parts.missing == {}
    assert sum(piece.bytes for piece in parts.bytes) == INT8.stat().st_size
    assert [row.name for row in parts.calibration] == ["input", "conv2d", "dense"]
    source = parts.calibration[0]
    assert (source.low, source.high) == pytest.approx((0, 1), abs=1e-2)
    assert 0 <= source.seen_low < 0.01 < 0.99 < source.seen_high <= 1
    assert all(row.clipped_share < 0.01 for row in parts.calibration)
    activations = {one.name: one for one in parts.histograms if one.kind == "activations"}
    assert activations.keys() == {"input", "conv2d", "dense"}
    assert sum(activations["input"].counts) == 30 * 28 * 28
    assert activations["input"].grid_step == pytest.approx(1 / 255, rel=1e-3)
    assert [one.own_noise for one in parts.layer_noise] == sorted(
        (o.own_noise for o in parts.layer_noise), reverse=True
    )
    assert {row.layer for row in parts.layer_noise} == {"conv2d", "flatten", "dense"}


def test_values_beyond_the_range_are_counted_as_clipped(tmp_path: Path) -> None:
    def narrow(model: Any) -> None:
        graph = model.subgraphs[0]
        quantization = graph.tensors[graph.operators[-1].outputs[0]].quantization
        quantization.scale = np.asarray(quantization.scale) / np.float32(4)

    parts = dissected(tmp_path, edited(INT8, tmp_path / "narrow.tflite", narrow))
    shares = {row.name: row.clipped_share for row in parts.calibration}
    assert shares["dense"] > 0.1
    assert shares["conv2d"] < 0.01


def test_another_network_is_not_compared(tmp_path: Path) -> None:
    parts = dissected(tmp_path, INT8, DEPTHWISE)
    assert parts.layer_noise == parts.calibration == []
    assert "cannot be matched" in parts.missing["layer_noise"]
    assert "cannot be matched" in parts.missing["calibration"]
    # What the file itself computes can still be shown.
    assert {one.name for one in parts.histograms if one.kind == "activations"} == {"input", "conv2d", "dense"}


def test_layers_of_another_width_are_not_compared(tmp_path: Path) -> None:
    """As after the removal of channels: the same operators in the same order."""

    def kernel(outputs: int) -> Path:
        values = np.ones((outputs, 784), np.float32)
        tensors = [
            tensor(T.FLOAT32, [1, 28, 28, 1]),
            tensor(T.FLOAT32, [outputs, 784], values),
            tensor(T.FLOAT32, [1, outputs]),
        ]
        graph = (tensors, [("FULLY_CONNECTED", [0, 1, -1], [2])], [0], [2])
        return write(tmp_path / f"{outputs}.tflite", graph)

    parts = dissected(tmp_path / "d", kernel(3), kernel(5))
    assert "other sizes" in parts.missing["layer_noise"]
    assert parts.layer_noise == []


def test_without_samples_only_what_is_read_is_there(tmp_path: Path) -> None:
    parts = dissected(tmp_path, INT8, None, count=0)
    assert {one.kind for one in parts.histograms} == {"weights"}
    assert parts.calibration == parts.layer_noise == []
    assert parts.graph
    assert parts.bytes


def test_a_file_that_no_interpreter_runs_loses_no_other_part(tmp_path: Path) -> None:
    tensors = [tensor(T.FLOAT32, [1, 28, 28, 1]), tensor(T.FLOAT32, [1, 28, 28, 1])]
    path = write(tmp_path / "custom.tflite", (tensors, [("NoSuchOperator", [0], [1])], [0], [1]))
    parts = dissected(tmp_path / "d", path, path)
    assert "NoSuchOperator" in parts.missing["layer_noise"]
    assert "NoSuchOperator" in parts.missing["histograms"]
    assert [node.name for node in parts.graph] == ["INPUT", "NoSuchOperator"]


def test_answers_are_counted_and_what_was_lost_comes_first() -> None:
    truth, before, now = np.array([[0, 0, 0, 1, 1, 1], [0, 0, 1, 1, 0, 2], [0, 1, 0, 1, 2, 1]])
    counts = confusion(["a", "b", "c"], truth, before, now)
    assert counts.float_counts == [[2, 1, 0], [1, 1, 1], [0, 0, 0]]
    assert counts.file_counts == [[2, 1, 0], [0, 2, 1], [0, 0, 0]]
    found = disagreements(["a", "b", "c"], truth, before, now, lambda indices: [f"p{index}" for index in indices])
    assert (found.samples, found.lost, found.gained, found.both_wrong) == (6, 1, 2, 1)
    rows = [(one.index, one.label, one.float_answer, one.file_answer, one.picture) for one in found.shown]
    assert rows == [
        (1, "a", "a", "b", "p1"),
        (2, "a", "b", "a", "p2"),
        (5, "b", "c", "b", "p5"),
        (4, "b", "a", "c", "p4"),
    ]


def test_no_more_than_so_many_are_shown() -> None:
    truth = np.zeros(1000, np.int64)
    found = disagreements(["a", "b"], truth, truth, truth + 1, lambda indices: [""] * len(indices))
    assert found.lost == 1000
    assert [one.index for one in found.shown] == list(range(SHOWN_MAX))


@pytest.mark.parametrize(
    ("sample", "size"),
    [
        (np.arange(784, dtype=np.uint8).reshape(28, 28, 1), (28, 28)),
        (np.zeros((28, 20), np.uint8), (20, 28)),
        (np.random.default_rng(0).integers(0, 255, (224, 112, 3), np.uint8), (SIDE_MAX[3] // 2, SIDE_MAX[3])),
        (np.linspace(-1, 1, 64, dtype=np.float32).reshape(8, 8, 1), (8, 8)),
    ],
)
def test_pictures_are_small_png(sample: np.ndarray, size: tuple[int, int]) -> None:
    head, _, content = data_uri(sample, (-1.0, 1.0)).partition(",")
    assert head == "data:image/png;base64"
    image = Image.open(io.BytesIO(base64.b64decode(content)))
    assert image.size == size
    assert len(content) < 10_000
    if sample.dtype == np.float32:
        assert (np.asarray(image).min(), np.asarray(image).max()) == (0, 255)


def test_what_is_no_picture_has_none() -> None:
    for shape in ((16_000,), (49, 40, 2), (3, 3, 3, 3), (0, 4, 1)):
        assert data_uri(np.zeros(shape, np.uint8), (0.0, 1.0)) == ""


def test_curves_are_every_trainings_numbers() -> None:
    history = {"loss": [2, 1.5], "learning_rate": [0.1, 0.01], "note": ["a", "b"], "empty": [], "odd": [True, None]}
    stages = [
        stage("train", history=history),
        stage("transfer", phases=[{"history": {"loss": [1.0]}}, {"history": {"loss": [0.5]}}, "odd"]),
        stage("quantize", scheme="int8"),
        stage("own", history="none", phases=7),
    ]
    found = [(one.stage, one.series) for one in curves_of(stages)]
    assert found == [
        ("train", {"loss": [2, 1.5], "learning_rate": [0.1, 0.01]}),
        ("transfer, phase 1", {"loss": [1.0]}),
        ("transfer, phase 2", {"loss": [0.5]}),
    ]


def test_layers_are_compared_with_the_model_that_was_quantized() -> None:
    trained, file = {"history": {"loss": [1.0]}}, {"file": {"sha256": ""}}
    plain = [stage("train", **trained), stage("quantize", **file), stage("slim", **file)]
    assert float_stage(plain) == BASELINE
    pruned = [plain[0], stage("prune", **trained), stage("cluster", **trained), *plain[1:]]
    assert float_stage(pruned) == "cluster"
    assert trained_since(pruned, "cluster") == []
    aware = [plain[0], stage("prune", **trained), stage("quantize_aware", **trained, **file)]
    assert float_stage(aware) == "prune"
    assert trained_since(aware, "prune") == ["quantize_aware"]
    assert float_stage([plain[0], aware[2]]) == BASELINE
    assert trained_since([plain[0], aware[2]], BASELINE) == ["quantize_aware"]
    learned = [stage("load"), stage("transfer", phases=[]), stage("quantize_edge_2", **file)]
    assert float_stage(learned) == BASELINE
    assert float_stage([stage("load", **trained), stage("prune", **trained), stage("quantize_edge", **file)]) == "prune"
    assert float_stage([stage("quantize_tflite", **file), stage("slim", **file)]) == BASELINE
    own = [plain[0], stage("prune", **trained), stage("my_converter", **file)]
    assert float_stage(own) == BASELINE
    assert trained_since(own, BASELINE) == ["prune"]


def test_calibration_samples_are_counted_by_class() -> None:
    labels = np.array([0, 1, 1, 2, 0])
    task = SimpleNamespace(HAS_CLASSES=True)
    workload: Any = SimpleNamespace(task=task, labels=("a", "b", "c", "d"), load=lambda split: ([], labels))
    assert classes_of(workload, [0, 1, 2, 3]) == {"a": 1, "b": 2, "c": 1, "d": 0}
    task.HAS_CLASSES = False
    assert classes_of(workload, [0, 1]) == {}
