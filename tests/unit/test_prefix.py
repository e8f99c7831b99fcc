"""Prefixes of a `.tflite`: the first operators as a file of its own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pipeline.flatbuffer import Subgraph, read_model
from pipeline.prefix import prefix_model

DATA = Path(__file__).parents[1] / "data"
BRANCHING, TINY = DATA / "depthwise_int8.tflite", DATA / "tiny_int8.tflite"  # of 10 and of 3 operators
LEFT_OUT = -1  # in place of a tensor: its dense layer has no bias
CONCATENATION = 5  # of what operator 4 makes, an ADD, and of operator 2's


def graph_of(path: Path) -> Subgraph:
    return read_model(path).subgraphs[0]


def prefix_of(path: Path, operators: int, folder: Path, **options: bool) -> Subgraph:
    cut = folder / "cut.tflite"
    cut.write_bytes(prefix_model(path.read_bytes(), operators, **options))
    return graph_of(cut)


@pytest.mark.parametrize("count", range(1, 11))
def test_a_prefix_is_the_first_operators_with_their_own_tensors(tmp_path: Path, count: int) -> None:
    whole, cut = graph_of(BRANCHING), prefix_of(BRANCHING, count, tmp_path)
    assert [operator.name for operator in cut.operators] == [operator.name for operator in whole.operators[:count]]
    for ours, theirs in zip(cut.operators, whole.operators, strict=False):
        for one, other in zip((*ours.inputs, *ours.outputs), (*theirs.inputs, *theirs.outputs), strict=True):
            if LEFT_OUT in (one, other):
                assert one == other
                continue
            tensor, original = cut.tensors[one], whole.tensors[other]
            assert (tensor.shape, tensor.dtype, tensor.scale) == (original.shape, original.dtype, original.scale)
            assert np.array_equal(tensor.stored_values(), original.stored_values())
    used = {index for operator in cut.operators for index in (*operator.inputs, *operator.outputs)}
    assert set(range(len(cut.tensors))) == used - {LEFT_OUT}
    assert len(cut.inputs) == 1
    assert cut.tensors[cut.inputs[0]].shape == (1, 28, 28, 1)
    assert cut.outputs == cut.operators[-1].outputs


def test_a_prefix_leaves_out_the_weights_of_what_is_cut_off() -> None:
    content = TINY.read_bytes()
    sizes = [len(prefix_model(content, count)) for count in (1, 2, 3)]
    kernel = graph_of(TINY).tensors[graph_of(TINY).operators[2].inputs[1]].size_bytes
    assert sizes[2] - sizes[1] > kernel > 0


def test_branches_are_outputs_on_request(tmp_path: Path) -> None:
    assert len(prefix_of(BRANCHING, CONCATENATION, tmp_path).outputs) == 1
    kept = prefix_of(BRANCHING, CONCATENATION, tmp_path, keep_branches=True)
    assert kept.outputs == (kept.operators[4].outputs[0], kept.operators[2].outputs[0])


@pytest.mark.parametrize("count", [-1, 0, 4])
def test_a_count_that_the_graph_does_not_have_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} operators of 3"):
        prefix_model(TINY.read_bytes(), count)
