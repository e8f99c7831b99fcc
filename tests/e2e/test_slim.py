"""The slim file computes what its source computes, in fewer bytes."""

from __future__ import annotations

import json
from pathlib import Path

import ai_edge_litert.schema_py_generated as schema
import numpy as np
import pytest
from small_project import add_target, invoke

from pipeline.inspect import inspect_file
from pipeline.runner import Settings
from pipeline.runners import host
from pipeline.steps.slim import slim

DATA = Path(__file__).parents[1] / "data"


@pytest.mark.parametrize("name", ["tiny_int8.tflite", "tiny_float32.tflite"])
def test_outputs_and_weights_are_the_same_bit_by_bit(tmp_path: Path, name: str) -> None:
    before, after = DATA / name, tmp_path / name
    content, removed = slim(before.read_bytes())
    after.write_bytes(content)
    samples = np.random.default_rng(0).random((100, 28, 28, 1), np.float32)
    models = host.run({"before": before, "after": after}, samples, Settings()).models
    assert np.array_equal(models["before"].outputs, models["after"].outputs)
    assert len(content) < before.stat().st_size
    assert removed["names"] == 8
    assert removed["metadata"] == 2
    kept = ("parameters", "multiply_accumulates", "zero_fraction", "peak_activation_bytes", "operator_counts")
    facts = [inspect_file(path) for path in (before, after)]
    assert [getattr(facts[0], field) for field in kept] == [getattr(facts[1], field) for field in kept]


def test_it_is_canonical(tmp_path: Path) -> None:
    content, _ = slim((DATA / "tiny_int8.tflite").read_bytes())
    again, removed = slim(content)
    assert again == content
    assert set(removed.values()) == {0}


def test_what_was_removed_is_gone_and_names_can_be_kept() -> None:
    content = (DATA / "tiny_int8.tflite").read_bytes()
    model = schema.ModelT.InitFromPackedBuf(slim(content)[0])
    assert (model.metadata, model.signatureDefs, model.description) == (None, None, None)
    assert all(tensor.name is None for graph in model.subgraphs for tensor in graph.tensors)
    used = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    assert used == set(range(len(model.buffers)))
    named = schema.ModelT.InitFromPackedBuf(slim(content, keep_names=True)[0])
    assert all(tensor.name for graph in named.subgraphs for tensor in graph.tensors)
    assert named.signatureDefs


def test_equal_buffers_and_vectors_are_stored_once_and_weights_stay_aligned() -> None:
    model = schema.ModelT.InitFromPackedBuf((DATA / "tiny_float32.tflite").read_bytes())
    kernel = next(
        t for t in model.subgraphs[0].tensors if len(t.shape) == 4 and model.buffers[t.buffer].data is not None
    )
    twin = schema.BufferT()
    twin.data = model.buffers[kernel.buffer].data
    model.buffers.append(twin)
    model.subgraphs[0].tensors[0].buffer = len(model.buffers) - 1  # any tensor will do: nothing is run here
    import flatbuffers

    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    content, removed = slim(bytes(builder.Output()))
    weights = bytes(twin.data)
    assert content.count(weights) == 1
    assert content.index(weights) % 16 == 0
    assert removed["buffers"] > 0


def test_a_recipe_with_slim_gives_the_same_answers_in_a_smaller_file(built: Path, document: dict) -> None:
    text = (built / "targets" / "small.toml").read_text()
    add_target(built, "slimmed", (text, text + '\n[[recipe]]\nstep = "slim"\n'))
    done = json.loads(invoke(built, "build", "--target=slimmed", "--workload=small", "--json").stdout)
    assert done["size_bytes"] < document["size_bytes"] - 1000
    assert done["accuracy"] == document["accuracy"]
    facts = next(stage["facts"] for stage in done["stages"] if stage["name"] == "slim")
    assert facts["bytes_before"] == document["size_bytes"]
    assert facts["bytes_after"] == done["size_bytes"]
    assert facts["removed"]["buffers"] > 0
