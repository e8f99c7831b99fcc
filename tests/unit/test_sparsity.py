"""The patterns of structured sparsity, and which fields of the prune step go together."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline.steps._sparsity import block_zeros, m_by_n_zeros, pattern_zeros, rows_of
from pipeline.steps.prune import Config
from tests.strategies import quick

small = st.integers(1, 5)


@st.composite
def sparse_rows(draw: st.DrawFn, multiple_of: tuple[int, int]) -> np.ndarray:
    """Return rows of zeros and ones whose shape is a multiple of (height, width)."""
    shape = draw(small) * multiple_of[0], draw(small) * multiple_of[1]
    return np.random.default_rng(draw(st.integers(0, 999))).random(shape) < draw(st.floats(0, 1))


@quick
@given(st.data())
def test_m_by_n_counts_at_most_m_zeros_of_each_n_neighbours(data: st.DataObject) -> None:
    n = data.draw(st.integers(2, 6))
    m = data.draw(st.integers(1, n - 1))
    rows = data.draw(sparse_rows((1, n)))
    expected = 0
    for row in rows.tolist():
        for start in range(0, len(row), n):
            expected += min(m, row[start : start + n].count(False))
    assert m_by_n_zeros(rows, m, n) == expected


@quick
@given(st.data())
def test_block_counts_the_zeros_of_blocks_that_are_zero_as_a_whole(data: st.DataObject) -> None:
    height, width = data.draw(small), data.draw(small)
    rows = data.draw(sparse_rows((height, width)))
    expected = 0
    for top, left in itertools.product(range(0, len(rows), height), range(0, rows.shape[1], width)):
        block = rows[top : top + height, left : left + width]
        expected += 0 if block.any() else block.size
    assert block_zeros(rows, (height, width)) == expected


def test_rows_run_along_the_inputs_as_in_the_file() -> None:
    dense = np.arange(6).reshape(2, 3)  # 2 inputs, 3 outputs
    assert rows_of(dense).tolist() == [[0, 3], [1, 4], [2, 5]]
    kernel = np.arange(24).reshape(1, 3, 4, 2)  # height, width, 4 inputs, 2 outputs
    assert rows_of(kernel).tolist() == kernel.transpose(3, 0, 1, 2).reshape(6, 4).tolist()


def test_the_same_zeros_count_only_where_they_follow_the_pattern() -> None:
    along_inputs = np.ones((8, 4))  # 8 inputs, 4 outputs: 2:4 leaves 16
    along_inputs[[0, 1, 4, 5]] = 0
    along_outputs = np.ones((8, 4))
    along_outputs[:, :2] = 0
    for method, inputs, outputs in [("magnitude", 16, 16), ("m_by_n", 16, 8), ("block", 0, 16)]:
        count = pattern_zeros(Config.model_validate({"method": method}))
        assert (count(along_inputs), count(along_outputs)) == (inputs, outputs), method


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"schedule": "constant", "final_sparsity": 0.2},  # below the initial sparsity, which is not used
        {"method": "m_by_n", "m": 1, "n": 3},
        {"method": "block", "block_size": [2, 8], "block_pooling_type": "MAX", "final_sparsity": 0.5},
        {"method": "block", "schedule": "constant"},
    ],
)
def test_fields_that_go_together(fields: dict[str, Any]) -> None:
    config = Config.model_validate(fields)
    assert Config.model_validate(config.model_dump(mode="json")) == config, "as the worker reads it"


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"final_sparsity": 0.2}, "initial_sparsity 0.3 is above final_sparsity 0.2"),
        ({"m": 1}, "m does nothing with method 'magnitude'"),
        ({"block_size": (4, 1)}, "block_size does nothing with method 'magnitude'"),
        ({"method": "m_by_n", "final_sparsity": 0.5}, "final_sparsity does nothing with method 'm_by_n'"),
        ({"method": "m_by_n", "schedule": "constant"}, "schedule does nothing with method 'm_by_n'"),
        ({"method": "m_by_n", "m": 4}, "expected m below n"),
        ({"method": "block", "n": 8}, "n does nothing with method 'block'"),
        ({"method": "block", "block_size": (0, 4)}, "greater than 0"),
        ({"method": "block", "block_pooling_type": "average"}, "'AVG' or 'MAX'"),
        ({"schedule": "constant", "initial_sparsity": 0.5}, "initial_sparsity does nothing"),
        ({"method": "channels"}, "'magnitude', 'm_by_n' or 'block'"),
    ],
)
def test_fields_that_do_not(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Config.model_validate(fields)
