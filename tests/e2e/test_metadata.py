"""TFLite metadata: another program finds them in the file, and the file computes what it did."""

from __future__ import annotations

import io
import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import ai_edge_litert.schema_py_generated as schema
import numpy as np
import pytest
from metadata_reader import metadata_buffer, read_metadata
from small_project import add_target, invoke
from step_runs import run_step, varied
from test_slim import packed, with_data_behind
from test_slim_micro import compiled, micro_outputs

from pipeline.errors import StepFailed
from pipeline.inspect import inspect_file
from pipeline.runner import Settings
from pipeline.runners import host
from pipeline.steps import metadata
from pipeline.steps._metadata_table import ModelFacts, TensorFacts
from pipeline.steps.metadata import affine_normalization, with_metadata
from pipeline.steps.slim import slim
from pipeline.verify import REFERENCE_FILE, verify
from pipeline.workload import Workload, load_workload

DATA = Path(__file__).parents[1] / "data"
FILES = ("tiny_int8.tflite", "tiny_float32.tflite", "depthwise_int8.tflite")
PLAIN = ModelFacts("digits", "which digit", "1.2.0", "me", "Apache-2.0", TensorFacts("image"), TensorFacts("score"))


def stage(folder: Path, name: str = "tiny_int8.tflite", count: int = 50) -> Path:
    """Write a stage's folder whose reference is what the file itself answers."""
    folder.mkdir()
    content, _ = slim((DATA / name).read_bytes())
    (folder / "model.tflite").write_bytes(content)
    small = varied()
    samples = small.preprocess(small.load("validation")[0][:count])
    outputs = host.run({"model": folder / "model.tflite"}, samples, Settings()).models["model"].outputs
    np.save(folder / REFERENCE_FILE, outputs)
    return folder


def test_another_program_reads_what_the_author_said(tmp_path: Path) -> None:
    said = {
        "name": "Ziffern ✓",
        "description": "liest Ziffern",
        "author": "A. & B.",
        "license": "MIT",
        "version": "2.0",
    }
    told = {"input_description": "a digit, white on black", "output_name": "digit", "output_description": "by class"}
    facts = run_step(metadata, stage(tmp_path / "source"), tmp_path / "out", varied(), **said, **told)
    content = (tmp_path / "out" / "model.tflite").read_bytes()
    found = read_metadata(content)
    (graph,) = found.pop("subgraph_metadata")
    assert found == {**said, "min_parser_version": "1.0.0"}
    labels = {"name": "labels.txt", "description": "Names of the places of the last axis.", "type": 2}
    assert graph == {
        "input_tensor_metadata": [
            {
                "name": "image",
                "description": told["input_description"],
                "content": {
                    "content_properties_type": 2,
                    "content_properties": {"color_space": 2, "default_size": {"width": 28, "height": 28}},
                },
                "process_units": [{"options_type": 1, "options": {"mean": [0.0], "std": [255.0]}}],
                "stats": {"max": [1.0], "min": [0.0]},
            }
        ],
        "output_tensor_metadata": [
            {"name": "digit", "description": told["output_description"], "associated_files": [labels]}
        ],
    }
    assert (facts["mean"], facts["deviation"], facts["labels"]) == ([0.0], [255.0], 10)
    assert facts["bytes_after"] == len(content) > facts["bytes_before"]


def test_what_the_author_does_not_say_comes_from_the_workload(tmp_path: Path) -> None:
    run_step(metadata, stage(tmp_path / "source"), tmp_path / "out", varied())
    found = read_metadata((tmp_path / "out" / "model.tflite").read_bytes())
    assert set(found) == {"name", "description", "subgraph_metadata", "min_parser_version"}
    assert (found["name"], found["description"]) == ("varied", varied().description)


def test_unzip_finds_the_labels_and_they_are_not_compressed(tmp_path: Path) -> None:
    run_step(metadata, stage(tmp_path / "source"), tmp_path / "out", varied(LABELS=("ä", *"123456789")))
    path = tmp_path / "out" / "model.tflite"
    text = "ä\n" + "".join(f"{digit}\n" for digit in range(1, 10))
    shown = subprocess.run(["python3", "-m", "zipfile", "-e", str(path), str(tmp_path / "files")], capture_output=True)
    assert shown.returncode == 0, shown.stderr
    assert (tmp_path / "files" / "labels.txt").read_text(encoding="utf-8") == text
    with zipfile.ZipFile(path) as archive:
        (entry,) = archive.infolist()
        assert (entry.compress_type, entry.date_time) == (zipfile.ZIP_STORED, (1980, 1, 1, 0, 0, 0))
    content = path.read_bytes()
    assert content[entry.header_offset :][:4] == b"PK\x03\x04"  # offsets count from the file's start


@pytest.mark.parametrize("name", FILES)
def test_outputs_stay_bit_by_bit_in_litert_and_in_tflite_micro(tmp_path: Path, name: str) -> None:
    before, after = DATA / name, tmp_path / "after.tflite"
    after.write_bytes(with_metadata(before.read_bytes(), PLAIN, ("a", "b")))
    samples = np.random.default_rng(0).random((50, 28, 28, 1), np.float32)
    models = host.run({"before": before, "after": after}, samples, Settings()).models
    assert np.array_equal(models["before"].outputs, models["after"].outputs)
    assert np.array_equal(micro_outputs(before), micro_outputs(after))
    found = [inspect_file(path) for path in (before, after)]
    kept = ("parameters", "multiply_accumulates", "zero_fraction", "operator_counts", "inputs", "outputs")
    assert [getattr(found[0], field) for field in kept] == [getattr(found[1], field) for field in kept]


def test_vela_compiles_the_file_as_before(tmp_path: Path) -> None:
    after = tmp_path / "after.tflite"
    after.write_bytes(with_metadata((DATA / "tiny_int8.tflite").read_bytes(), PLAIN, ("a", "b")))
    assert compiled(after, tmp_path / "one") == compiled(DATA / "tiny_int8.tflite", tmp_path / "two")


def test_equal_facts_give_equal_bytes_and_new_ones_replace_the_old() -> None:
    content = (DATA / "tiny_int8.tflite").read_bytes()
    once = with_metadata(content, PLAIN, ("a", "b"))
    assert with_metadata(content, PLAIN, ("a", "b")) == once
    assert with_metadata(once, PLAIN, ("a", "b")) == once
    other = with_metadata(once, ModelFacts("x", "", "", "", "", TensorFacts("in"), TensorFacts("out")))
    assert read_metadata(other)["name"] == "x"
    assert not zipfile.is_zipfile(io.BytesIO(other))
    names = [entry.name for entry in schema.ModelT.InitFromPackedBuf(other).metadata]
    assert names.count(b"TFLITE_METADATA") == 1
    assert len(names) == 3  # what the converter had written is still there


def test_weights_behind_the_flatbuffer_come_before_the_zip() -> None:
    content = (DATA / "tiny_int8.tflite").read_bytes()
    behind = with_data_behind(schema.ModelT.InitFromPackedBuf(content))
    assert with_metadata(behind, PLAIN, ("a",)) == with_metadata(
        packed(schema.ModelT.InitFromPackedBuf(content)), PLAIN, ("a",)
    )


def test_the_metadata_start_where_a_flatbuffer_may() -> None:
    content = with_metadata((DATA / "tiny_int8.tflite").read_bytes(), PLAIN)
    assert content.index(metadata_buffer(content)) % 16 == 0


def test_promises_hold_and_the_reference_comes_along(tmp_path: Path) -> None:
    source = stage(tmp_path / "source")
    run_step(metadata, source, tmp_path / "out", varied())
    promises = {"input_dtype": "int8", "output_dtype": "int8", "full_integer": True}
    runner = {"runner": "host"}
    before, after = (verify(folder, varied(), promises, runner) for folder in (source, tmp_path / "out"))
    changed = {"sha256", "size_bytes", "deflated_bytes"}
    assert {key for key in before if before[key] != after[key]} == changed
    assert after["agreement"] == 1


def test_a_file_that_answers_otherwise_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = (DATA / "depthwise_int8.tflite").read_bytes()
    monkeypatch.setattr(metadata, "with_metadata", lambda content, facts, labels: other)
    with pytest.raises(StepFailed, match="metadata step does not compute what its source computes"):
        run_step(metadata, stage(tmp_path / "source"), tmp_path / "out", varied())


@pytest.mark.parametrize("label", ["two\nlines", "", "return\r", "next\u2028line"])
def test_labels_that_are_no_lines_are_refused(label: str) -> None:
    with pytest.raises(StepFailed, match="label"):
        with_metadata((DATA / "tiny_int8.tflite").read_bytes(), PLAIN, ("a", label))


def test_labels_of_other_count_than_the_outputs_are_left_out(tmp_path: Path) -> None:
    facts = run_step(metadata, stage(tmp_path / "source"), tmp_path / "out", varied(LABELS=(*"0123456789", "?")))
    content = (tmp_path / "out" / "model.tflite").read_bytes()
    assert facts["labels"] == 0
    assert read_metadata(content)["subgraph_metadata"][0]["output_tensor_metadata"] == [{"name": "score"}]
    assert not zipfile.is_zipfile(io.BytesIO(content))


def pictures(prepare: Any, channels: int = 3, dtype: Any = np.uint8, size: int = 6) -> Workload:
    """Return a workload of random pictures, prepared so."""
    raw = np.random.default_rng(0).integers(0, 256, (20, size, size, channels)).astype(dtype)
    labels = np.zeros(20, np.int64)
    return varied(load=lambda split: (raw, labels), preprocess=prepare, INPUT_SHAPE=prepare(raw).shape[1:])


def test_normalization_is_found_by_channel() -> None:
    mean, deviation = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
    found = affine_normalization(pictures(lambda raw: (raw.astype(np.float32) / 255 - mean) / deviation))
    assert found is not None
    np.testing.assert_allclose(found, [255 * mean, 255 * deviation], rtol=1e-5)
    assert affine_normalization(load_workload("mnist")) == ((0.0,), (255.0,))


@pytest.mark.parametrize(
    "workload",
    [
        pictures(lambda raw: np.sqrt(raw.astype(np.float32))),  # not affine
        pictures(lambda raw: 1 - raw.astype(np.float32) / 255),  # the deviation would be negative
        pictures(lambda raw: raw[:, ::-1].astype(np.float32)),  # pixels change places
        pictures(lambda raw: raw[..., ::-1].astype(np.float32)),  # channels change places
        pictures(lambda raw: np.where(raw == 77, 0, raw).astype(np.float32)),  # affine but for one value
        pictures(lambda raw: np.zeros(raw.shape, np.float32)),
        pictures(lambda raw: raw.astype(np.float32), dtype=np.float32),  # no pixels
        pictures(lambda raw: raw.astype(np.float32), channels=2),
        pictures(lambda raw: raw[:, ::2, ::2].astype(np.float32), size=12),  # another size
    ],
)
def test_what_is_not_affine_has_no_normalization(workload: Workload) -> None:
    assert affine_normalization(workload) is None


def test_a_build_ends_with_metadata_after_slimming(built: Path, document: dict) -> None:
    add_target(built, "described")
    path = built / "targets" / "described.toml"
    path.write_text(path.read_text() + '\n[[recipe]]\nstep = "metadata"\nversion = "1.2.0"\nauthor = "me"\n')
    found = json.loads(invoke(built, "build", "--target=described", "--workload=small", "--json").stdout)
    names = [one["name"] for one in found["stages"]]
    assert names[names.index("metadata") - 1] == "slim"
    model = built / found["artifact"]
    assert read_metadata(model.read_bytes())["version"] == "1.2.0"
    assert found["scores"] == document["scores"]
    inspected = json.loads(invoke(built, "inspect", str(model), "--json").stdout)
    assert inspected["inspection"]["size_bytes"] == found["size_bytes"]
