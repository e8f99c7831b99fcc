"""`invoke check` answers without TensorFlow, on stdout, by its exit code."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.null.cli import DATA, Project


def test_a_check_needs_no_tensorflow(project: Project, tmp_path: Path) -> None:
    shutil.copyfile(DATA / "tiny_float32.tflite", project.root / "float.tflite")
    shutil.copyfile(DATA / "tiny_int8.tflite", project.root / "int8.tflite")
    fits = project.run("check", "float.tflite", "--target=mobile,browser", "--json", expect=None)
    assert fits.code == 0, fits.stderr
    assert [row["target"] for row in fits.json("check")["targets"]] == ["mobile", "browser"]
    refused = project.run("check", "int8.tflite", "--json", expect=None)
    assert refused.code == 2
    assert not refused.json("check")["possible"]
    shown = project.run("check", "int8.tflite", expect=None)
    assert shown.code == 2
    assert "quantized already" in shown.stdout
    nothing = project.run("check", "absent.keras", "--json", expect=None)
    assert nothing.code == 2
    assert nothing.json("error")["error"]["code"] == "bad_model_file"
