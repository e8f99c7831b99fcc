"""`invoke compare` for real: zeros and clusters in the row's file, and a file that converts but does not load."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from small_project import REPOSITORY, copy_project, invoke

SPARSE = '''
"""Zeros stored sparsely by the converter, which LiteRT's int8 kernels do not take."""

from pydantic import BaseModel

from pipeline.steps import quantize

CONSUMES, PRODUCES, LIBRARIES = "keras", "tflite", ("tensorflow",)


class Config(quantize.Config):
    pass


def run(source, workload, config, out, report):
    from pipeline.keras_legacy import tf

    plain = tf.lite.TFLiteConverter.convert

    def sparse(converter):
        converter.optimizations = [tf.lite.Optimize.DEFAULT, tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
        return plain(converter)

    tf.lite.TFLiteConverter.convert = sparse
    try:
        return quantize.run(source, workload, config, out, report)
    finally:
        tf.lite.TFLiteConverter.convert = plain
'''
TECHNIQUES = """
[technique.sparse]
description = "zeros stored sparsely"
against = "float16"
recipe = [
  { step = "prune", method = "m_by_n", epochs = 2, batch_size = 64 },
  { step = "sparse", scheme = "int8" },
]

[technique.pcqat]
description = "zeros and clusters kept"
against = "float32"
recipe = [
  { step = "prune", final_sparsity = 0.6, epochs = 2 },
  { step = "cluster", number_of_clusters = 8, epochs = 1 },
  { step = "quantize_aware", preserve = "both", epochs = 1 },
]
"""


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    project = copy_project(tmp_path_factory.mktemp("compare") / "project")
    (project / "techniques.toml").write_text(TECHNIQUES)
    (project / "steps").mkdir()
    (project / "steps" / "sparse.py").write_text(SPARSE)
    done = invoke(
        project,
        "compare",
        "--target=small",
        "--workload=small",
        "--techniques=float16,pcqat,sparse",
        "--scenarios",
        "--json",
    )
    (project / "compare.json").write_text(done.stdout)
    return project


def test_rows_hold_what_is_in_the_files(compared: Path) -> None:
    document = json.loads((compared / "compare.json").read_text())
    jsonschema.validate(document, json.loads((REPOSITORY / "docs" / "schemas" / "compare.json").read_text()))
    rows = {row["name"]: row for row in document["candidates"]}
    assert list(rows) == ["float32", "float16", "pcqat"]
    assert rows["pcqat"]["distinct_values_per_channel"] <= 160, "kernels too small to cluster keep their values"
    assert rows["pcqat"]["zero_fraction"] > 0.55
    assert rows["pcqat"]["size_bytes"] < rows["float16"]["size_bytes"] < rows["float32"]["size_bytes"]
    ours, theirs = (rows[name]["latency"]["p50_us_interval"] for name in ("float16", "float32"))
    same_time = ours[0] <= theirs[1] and theirs[0] <= ours[1]  # as it is but for what other programs do meanwhile
    told = any("float16 weights are decoded to float32" in reason for reason in rows["float16"]["reasons"])
    assert told == same_time
    assert document["choice"] == "pcqat"
    assert rows["float16"]["fits_target"] is False
    for row in rows.values():
        assert row["recipe"][-1] == {"step": "slim"}
        assert row["cold_start"]["first_answer_ms"]["value"] > 0
        assert min(row["cold_start"]["sustained_p50_us"]) > 0
        # Hardly noticed against hard to read.
        assert row["corrupted"]["noise"][0] > row["corrupted"]["noise"][4]


def test_a_file_that_converts_but_does_not_load_is_left_out(compared: Path) -> None:
    (exclusion,) = json.loads((compared / "compare.json").read_text())["excluded"]
    assert exclusion["name"] == "sparse"
    assert exclusion["message"] == "the step sparse gave no model.tflite that can be used"
    assert "failed to prepare" in exclusion["received"]
