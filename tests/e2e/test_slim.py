"""The slim file computes what its source computes, in fewer bytes."""

from __future__ import annotations

import json
from pathlib import Path

import ai_edge_litert.schema_py_generated as schema
import flatbuffers
import numpy as np
import pytest
from small_project import add_target, invoke

from pipeline.inspect import inspect_file
from pipeline.runner import Settings
from pipeline.runners import host
from pipeline.steps.slim import slim

DATA = Path(__file__).parents[1] / "data"


@pytest.mark.parametrize("name", ["tiny_int8.tflite", "tiny_float32.tflite", "depthwise_int8.tflite"])
def test_outputs_and_weights_are_the_same_bit_by_bit(tmp_path: Path, name: str) -> None:
    before, after = DATA / name, tmp_path / name
    content, removed = slim(before.read_bytes())
    after.write_bytes(content)
    samples = np.random.default_rng(0).random((100, 28, 28, 1), np.float32)
    models = host.run({"before": before, "after": after}, samples, Settings()).models
    assert np.array_equal(models["before"].outputs, models["after"].outputs)
    assert len(content) < before.stat().st_size
    tensors = schema.ModelT.InitFromPackedBuf(before.read_bytes()).subgraphs[0].tensors
    assert removed["names"]["count"] == len(tensors) + 1  # and the graph's
    assert removed["metadata"]["count"] == 3  # two entries and the description
    assert sum(kind["bytes"] for kind in removed.values()) == before.stat().st_size - len(content)
    kept = ("parameters", "multiply_accumulates", "zero_fraction", "peak_activation_bytes", "operator_counts")
    facts = [inspect_file(path) for path in (before, after)]
    assert [getattr(facts[0], field) for field in kept] == [getattr(facts[1], field) for field in kept]


def test_it_is_canonical() -> None:
    content, _ = slim((DATA / "tiny_int8.tflite").read_bytes())
    again, removed = slim(content)
    assert again == content
    assert {number for kind in removed.values() for number in kind.values()} == {0}


def packed(model: schema.ModelT) -> bytes:
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def test_what_is_removed_is_listed_with_its_bytes() -> None:
    """A file that has something of every kind, much of it."""
    model = schema.ModelT.InitFromPackedBuf((DATA / "tiny_int8.tflite").read_bytes())
    graph = model.subgraphs[0]
    for index, tensor in enumerate(graph.tensors):
        tensor.shapeSignature = tensor.shape
        tensor.quantization = tensor.quantization or schema.QuantizationParametersT()
        tensor.quantization.min = [-100.0 - step - index for step in range(30)]
        tensor.quantization.max = [100.0 + step + index for step in range(30)]
    graph.tensors[0].shapeSignature = [-1, 28, 28, 1]  # says what the shape does not
    for operator in graph.operators:
        operator.intermediates, operator.customOptions = [], []
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(b"nobody reads this" * 20, np.uint8)
    model.buffers.append(buffer)
    content, removed = slim(packed(model))
    counts = {kind: entry["count"] for kind, entry in removed.items() if kind != "layout"}
    tensors, operators = len(graph.tensors), len(graph.operators)
    assert counts == {
        "metadata": 3,
        "signatures": 1,
        "names": tensors + 1,
        "ranges": tensors,
        "shape_signatures": tensors - 1,
        "empty_vectors": 2 * operators,
        "buffers": len(model.buffers) - 5,  # the empty one, and kernel and bias of two layers
    }
    assert removed["ranges"]["bytes"] > tensors * 2 * 30 * 4
    assert removed["buffers"]["bytes"] > len(buffer.data)
    assert removed["names"]["bytes"] > sum(len(tensor.name) for tensor in graph.tensors)
    assert min(entry["bytes"] for entry in removed.values()) >= 0
    assert removed["layout"]["bytes"] > 0
    assert sum(entry["bytes"] for entry in removed.values()) == len(packed(model)) - len(content)
    left = schema.ModelT.InitFromPackedBuf(content).subgraphs[0]
    assert [list(left.tensors[0].shapeSignature), left.tensors[1].shapeSignature] == [[-1, 28, 28, 1], None]


def test_what_was_removed_is_gone_and_names_can_be_kept() -> None:
    content = (DATA / "tiny_int8.tflite").read_bytes()
    model = schema.ModelT.InitFromPackedBuf(slim(content)[0])
    assert (model.metadata, model.signatureDefs, model.description) == (None, None, None)
    assert all(tensor.name is None for graph in model.subgraphs for tensor in graph.tensors)
    used = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    assert used == set(range(len(model.buffers)))
    kept, removed = slim(content, keep_names=True)
    named = schema.ModelT.InitFromPackedBuf(kept)
    assert all(tensor.name for graph in named.subgraphs for tensor in graph.tensors)
    assert named.signatureDefs
    assert not {"names", "signatures"} & set(removed)


def test_equal_buffers_and_vectors_are_stored_once_and_weights_stay_aligned() -> None:
    model = schema.ModelT.InitFromPackedBuf((DATA / "tiny_float32.tflite").read_bytes())
    kernel = next(
        t for t in model.subgraphs[0].tensors if len(t.shape) == 4 and model.buffers[t.buffer].data is not None
    )
    twin = schema.BufferT()
    twin.data = model.buffers[kernel.buffer].data
    model.buffers.append(twin)
    model.subgraphs[0].tensors[0].buffer = len(model.buffers) - 1  # any tensor will do: nothing is run here
    content, removed = slim(packed(model))
    weights = bytes(twin.data)
    assert content.count(weights) == 1
    assert content.index(weights) % 16 == 0
    assert removed["buffers"]["count"] > 0


def test_weights_are_never_stored_in_an_equal_vector_that_is_not_aligned() -> None:
    model = schema.ModelT.InitFromPackedBuf((DATA / "tiny_int8.tflite").read_bytes())
    weights = max((bytes(buffer.data) for buffer in model.buffers if buffer.data is not None), key=len)
    model.subgraphs[0].operators[0].customOptions = np.frombuffer(weights, np.uint8)
    content, _ = slim(packed(model))
    assert content.count(weights) == 2
    assert 0 in {content.find(weights) % 16, content.rfind(weights) % 16}


def with_data_behind(model: schema.ModelT) -> bytes:
    """Return the file with the data of its buffers behind the flatbuffer, as ai-edge-quantizer writes it."""
    held = {index: bytes(buffer.data) for index, buffer in enumerate(model.buffers) if buffer.data is not None}
    for index, data in held.items():
        model.buffers[index].data, model.buffers[index].size, model.buffers[index].offset = None, len(data), 2
    place = -(-len(packed(model)) // 16) * 16
    for index, data in held.items():
        model.buffers[index].offset = place
        place += -(-len(data) // 16) * 16
    content = packed(model)
    for index, data in held.items():
        content = content.ljust(model.buffers[index].offset, b"\0") + data
    return content


@pytest.mark.parametrize("name", ["tiny_int8.tflite", "depthwise_int8.tflite"])
def test_data_behind_the_flatbuffer_is_taken_in(tmp_path: Path, name: str) -> None:
    content = (DATA / name).read_bytes()
    behind = with_data_behind(schema.ModelT.InitFromPackedBuf(content))
    slimmed, _ = slim(behind)
    assert slimmed == slim(content)[0]
    files = {"behind": behind, "slimmed": slimmed}
    paths = {kind: tmp_path / f"{kind}.tflite" for kind in files}
    for kind, path in paths.items():
        path.write_bytes(files[kind])
    samples = np.random.default_rng(0).random((20, 28, 28, 1), np.float32)
    models = host.run(paths, samples, Settings()).models
    assert np.array_equal(models["behind"].outputs, models["slimmed"].outputs)


def test_custom_options_behind_the_flatbuffer_are_taken_in() -> None:
    model = schema.ModelT.InitFromPackedBuf((DATA / "tiny_int8.tflite").read_bytes())
    options = b"options of an operator"
    operator = model.subgraphs[0].operators[1]
    operator.largeCustomOptionsOffset, operator.largeCustomOptionsSize = 2, len(options)
    operator.largeCustomOptionsOffset = len(packed(model))
    content, _ = slim(packed(model) + options)
    taken = schema.ModelT.InitFromPackedBuf(content).subgraphs[0].operators[1]
    assert bytes(taken.customOptions) == options
    assert (taken.largeCustomOptionsOffset, taken.largeCustomOptionsSize) == (0, 0)


def test_no_part_points_into_metadata_that_is_gone() -> None:
    model = schema.ModelT.InitFromPackedBuf((DATA / "tiny_int8.tflite").read_bytes())
    model.subgraphs[0].debugMetadataIndex = model.subgraphs[0].operators[0].debugMetadataIndex = 1
    graph = schema.ModelT.InitFromPackedBuf(slim(packed(model))[0]).subgraphs[0]
    assert {part.debugMetadataIndex for part in (graph, *graph.operators)} == {-1}


def test_a_target_with_a_budget_of_size_gives_the_same_answers_in_a_smaller_file(built: Path, document: dict) -> None:
    top = 'description = "Everything for real, in seconds"'
    add_target(built, "not_slimmed", (top, f"{top}\nslim = false"))
    whole = json.loads(invoke(built, "build", "--target=not_slimmed", "--workload=small", "--json").stdout)
    assert "slim" not in [stage["name"] for stage in whole["stages"]]
    assert document["size_bytes"] < whole["size_bytes"] - 1000
    assert document["accuracy"] == whole["accuracy"]
    facts = next(stage["facts"] for stage in document["stages"] if stage["name"] == "slim")
    assert facts["bytes_before"] == whole["size_bytes"]
    assert facts["bytes_after"] == document["size_bytes"]
    assert whole["size_bytes"] - document["size_bytes"] == sum(kind["bytes"] for kind in facts["removed"].values())
    assert facts["removed"]["buffers"]["count"] > 0
