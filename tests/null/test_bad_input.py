"""Whatever is wrong with what a user gives: one clear error with its exit code, and nothing is lost."""

from __future__ import annotations

import functools
import json
import os
import random
import shutil
import struct
import subprocess
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.store import Store
from tests.null.cli import BUILD, DATA, Project, keys, made

INT8 = (DATA / "tiny_int8.tflite").read_bytes()


def error_of(project: Project, *arguments: str, expect: int = 2, **options: Any) -> dict[str, str]:
    """Run a command that must fail; return its error document, which stderr words for a person."""
    result = project.run(*arguments, "--json", expect=expect, **options)
    error = result.json("error")["error"]
    assert f"error: {error['message']}" in result.stderr
    assert "Traceback" not in result.stderr
    assert error["received"]
    assert error["expected"]
    return error


# ---------------------------------------------------------------- names, seeds, targets


@pytest.mark.parametrize(
    ("option", "message", "fix"),
    [
        ("--target=nul", "unknown target 'nul'", "did you mean 'null'?"),
        ("--target=../targets/null", "unknown target '../targets/null'", ""),
        ("--workload=gray", "unknown workload 'gray'", "did you mean 'grey'?"),
        ("--workload=missing.py", "no workload file missing.py", "check the path"),
        *((f"--seed={seed}", "--seed is not a seed", "--seed=0") for seed in ("abc", "-1", "1.5", "2147483648")),
        ("--seed=" + "9" * 5000, "--seed is not a seed", "--seed=0"),
        ("--seed=٣", "--seed is not a seed", "--seed=0"),
    ],
    ids=lambda value: value[:24] if value.startswith("--") else "",
)
def test_unknown_names_and_seeds(project: Project, option: str, message: str, fix: str) -> None:
    name = option.partition("=")[0]  # Invoke takes a flag but once
    error = error_of(project, *(known for known in BUILD if not known.startswith(name)), option)
    assert error["message"] == message
    assert fix in error["fix"]
    assert project.entries() == set()


def recipe(project: Project, *steps: str) -> None:
    path = project.root / "targets" / "null.toml"
    head = path.read_text().partition("[[recipe]]")[0]
    path.write_text(head + "".join(f"[[recipe]]\n{step}\n" for step in steps))


def edit(old: str, new: str) -> Callable[[Project], None]:
    return lambda project: project.edit("targets/null.toml", old, new)


TRAIN, PRUNE, QUANTIZE = (f'step = "null_{name}"' for name in ("train", "prune", "quantize"))


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (edit('input_dtype = "int8"', "input_dtype = int8"), ["null.toml", "line 3", "a TOML file"]),
        (edit("size_bytes", "size_byte"), ["unknown key budgets.size_byte", "did you mean 'size_bytes'?"]),
        (edit("20_000", "-1"), ["budgets.size_bytes cannot be used", "-1", "greater than 0"]),
        (edit('runner = "null"', 'runner = "nul"'), ["unknown runner 'nul'", "did you mean 'null'?"]),
        (lambda project: recipe(project, 'step = "null_trian"'), ["unknown step 'null_trian'", "recipe[0].step"]),
        (
            lambda project: recipe(project, TRAIN, PRUNE + "\nfinal_sparsity = 1.5", QUANTIZE),
            ["recipe[1].final_sparsity cannot be used", "1.5", "less than 1"],
        ),
        (
            lambda project: recipe(project, TRAIN, QUANTIZE, PRUNE),
            ["recipe[2]: the step 'null_prune' cannot stand here", "move 'null_prune' before 'null_quantize'"],
        ),
        # The shipped steps are refused as well without TensorFlow.
        (
            lambda project: recipe(project, 'step = "train"', 'step = "prune"\nfinal_sparsity = 1.5'),
            ["recipe[1].final_sparsity cannot be used", "1.5"],
        ),
        (
            lambda project: recipe(project, 'step = "train"', 'step = "quantize"', 'step = "prune"'),
            ["recipe[2]: the step 'prune' cannot stand here"],
        ),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_target_that_cannot_be_used(project: Project, change: Callable[[Project], object], parts: list[str]) -> None:
    change(project)
    error = error_of(project, *BUILD)
    assert str(project.root / "targets" / "null.toml") in error["message"]
    for part in parts:
        assert part in " ".join(error.values())
    assert error["fix"]
    assert project.entries() == set()


# ---------------------------------------------------------------- workloads, steps and their promises


@pytest.mark.parametrize(
    ("old", "new", "part"),
    [
        ("import numpy as np", "import numpy as", "SyntaxError"),
        ("LABELS = ", "LABELLED = ", "is incomplete"),
        ("Training(epochs=1)", '{"epochs": 1}', "unusable TRAINING"),
        ("np.arange(count) % 10", "np.arange(count - 1) % 10", "as many samples as labels"),
        ("astype(np.float32)", "astype(np.float64)", "preprocess() does not return what INPUT_SHAPE promises"),
        ("LABELS = ", 'DATA_FILES = ("missing.bin",)\nLABELS = ', "missing.bin"),
    ],
)
def test_workload_that_cannot_be_used(project: Project, old: str, new: str, part: str) -> None:
    project.edit("workloads/grey.py", old, new)
    error = error_of(project, *BUILD)
    assert part in " ".join(error.values())
    assert "grey.py" in error["message"] or "missing.bin" in error["message"]


def configured(step: str, **parameters: object) -> Callable[[Project], None]:
    return lambda project: project.configure(step, **parameters)


def ending(statement: str) -> Callable[[Project], None]:
    """Let the prune step end so."""
    return lambda project: project.edit(
        "steps/null_prune.py", "    weights = np.load", f"    import os, sys\n    {statement}\n    weights = np.load"
    )


def writing(old: str, new: str) -> Callable[[Project], None]:
    return lambda project: project.edit("steps/null_quantize.py", old, new)


@pytest.mark.parametrize(
    ("change", "parts"),
    [
        (configured("null_train", fail=True), ["ValueError: this step was told to fail", "log"]),
        (configured("null_prune", promise=0.5), ["does not keep the zeros", "0.5000"]),
        (configured("null_quantize", promised_dtype="int16"), ["input has the wrong number format", "int8", "int16"]),
        (configured("null_quantize", agrees=False), ["does not agree", "0.00% agreement on 50", "99.5%"]),
        (writing('"full_integer": config.scheme == "int8"', '"full_integer": True'), ["computes in float"]),
        (writing(".read_bytes())", ".read_bytes()[:8])"), ["null_quantize gave no model.tflite"]),
        (writing(".read_bytes())", ".read_bytes() * 0)"), ["null_quantize gave no model.tflite", "empty"]),
        (writing('(out / "model.tflite")', '(out / "other")'), ["null_quantize gave no model.tflite", "no such file"]),
        (writing('"reference.npy"', '"other.npy"'), ["reference.npy"]),
        (ending("os.kill(os.getpid(), 9)"), ["process", "SIGKILL", "log"]),
        (ending("os._exit(0)"), ["process", "exit code 0", "log"]),
        (ending("raise KeyboardInterrupt"), ["process", "log"]),
        (ending("raise MemoryError"), ["MemoryError"]),
        (ending("return {'loss': float('nan')}"), ["loss = nan"]),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_step_that_fails(project: Project, change: Callable[[Project], None], parts: list[str]) -> None:
    change(project)
    error = error_of(project, *BUILD, expect=4)
    for part in parts:
        assert part in " ".join(error.values())
    assert not project.artifact().exists()
    project.wait_until_gone()
    store = Store(project.root / "artifacts" / "store")
    assert store.verify() == []
    assert [path for name in ("working", "pins") for path in (store.root / name).iterdir()] == []


def test_step_module_that_cannot_be_imported(project: Project) -> None:
    project.edit("steps/null_prune.py", "import numpy as np", "import nunpy as np")
    error = error_of(project, *BUILD)
    assert "null_prune.py" in error["message"]
    assert "nunpy" in error["message"]


@pytest.mark.parametrize("name", ["Config", "CONSUMES", "LIBRARIES", "run"])
def test_step_module_that_breaks_the_contract(project: Project, name: str) -> None:
    path = project.root / "steps" / "null_prune.py"
    path.write_text(path.read_text() + f"\ndel {name}\n")
    error = error_of(project, *BUILD)
    assert "null_prune.py" in error["message"]
    assert name in error["received"]


def test_step_that_needs_a_library_that_is_not_installed(project: Project) -> None:
    project.edit("steps/null_prune.py", '("numpy",)', '("numpy", "no-such-distribution")')
    error = error_of(project, *BUILD, expect=4)
    assert error["message"] == "the step 'null_prune' needs no-such-distribution, which is not installed"
    assert project.entries() == set()


# ---------------------------------------------------------------- a damaged store


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x20
    overwrite(path, bytes(content))


def truncated(path: Path) -> None:
    overwrite(path, path.read_bytes()[: path.stat().st_size // 2])


def emptied(path: Path) -> None:
    overwrite(path, b"")


def other_json(path: Path) -> None:
    overwrite(path, b'{"record": [], "checksum": 1}')


def no_object(path: Path) -> None:
    overwrite(path, b"[1, 2]")


def overwrite(path: Path, content: bytes) -> None:
    path.chmod(0o644)
    path.write_bytes(content)


def removed(path: Path) -> None:
    path.unlink()


def turned_into_a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def joined_by_another(path: Path) -> None:
    (path.parent / "stray").write_text("")


@pytest.mark.parametrize(
    ("stage", "name", "damage"),
    [
        ("null_train", "weights.npy", flipped),
        ("null_quantize", "model.tflite", flipped),
        ("null_quantize", "model.tflite", truncated),
        ("null_quantize", "reference.npy", emptied),
        ("null_quantize", "model.tflite", removed),
        ("null_quantize", "model.tflite", turned_into_a_folder),
        ("null_quantize", "model.tflite", joined_by_another),
        ("null_prune", "record.json", truncated),
        ("null_prune", "record.json", other_json),
        ("null_prune", "record.json", no_object),
    ],
)
def test_damaged_store_entry_is_reported_and_made_anew(
    built: Project, stage: str, name: str, damage: Callable[[Path], None]
) -> None:
    document = json.loads(built.artifact(name="build.json").read_text())
    key = keys(document)[stage]
    damage(built.entry(key) / name)
    store = Store(built.root / "artifacts" / "store")
    assert [found.key for found in store.verify()] == [key]
    result = built.build("--json")
    assert f"note: the store's entry {key[:12]}… is damaged" in result.stderr
    again = result.json("build")
    assert made(again) == [stage]
    assert again["sha256"] == document["sha256"]
    assert built.artifact().read_bytes() == INT8
    assert store.verify() == []
    assert [path.name[:64] for path in (store.root / "damaged").iterdir()] == [key]


def test_damaged_measurement_is_taken_anew(built: Project) -> None:
    entries = built.run("store", "--json").json("store")["entries"]
    (key,) = [entry["key"] for entry in entries if entry["step"] == "benchmark"]
    truncated(built.entry(key) / "record.json")
    document = built.built()
    assert made(document) == []
    assert not document["latency"]["reused"]
    built.run("store.verify")


def test_damaged_float_file_is_not_measured_against(built: Project) -> None:
    flipped(built.entry(keys(json.loads(built.artifact(name="build.json").read_text()))["baseline"]) / "model.tflite")
    result = built.run("bench", "--target=null", expect=3)
    assert "is damaged" in result.stderr
    built.build()
    built.run("bench", "--target=null")


@pytest.mark.parametrize("task", [("store",), ("store.gc",), ("bench",), ("clean",), (*BUILD, "--dry-run")])
def test_other_tasks_live_with_a_damaged_store(built: Project, task: tuple[str, ...]) -> None:
    for stage, key in keys(json.loads(built.artifact(name="build.json").read_text())).items():
        if stage != "baseline":
            other_json(built.entry(key) / "record.json")
    built.add("artifacts/store/entries/stray", "a file")
    assert "Traceback" not in built.run(*task).stderr


# ---------------------------------------------------------------- a stale build


def altered(built: Project) -> None:
    built.artifact().write_bytes((DATA / "tiny_float32.tflite").read_bytes())


def lost(built: Project) -> None:
    built.artifact().unlink()


def document_cut(built: Project) -> None:
    truncated(built.artifact(name="build.json"))


def document_of_another_version(built: Project) -> None:
    built.artifact(name="build.json").write_text('{"schema_version": 0}')


@pytest.mark.parametrize("change", [altered, lost, document_cut, document_of_another_version])
def test_stale_build_is_refused(built: Project, change: Callable[[Project], None]) -> None:
    Image.new("L", (8, 8)).save(built.root / "digit.png")
    change(built)
    for task in (("bench",), ("predict", "--image=digit.png", *BUILD[1:])):
        error = error_of(built, *task)
        assert str(built.artifact().parent) in error["message"]
        assert error["fix"] == "invoke build --target=null --workload=grey"
    rows = {row["name"]: row for row in built.run("targets", "--json").json("targets")["targets"]}
    assert rows["null"]["last"] == {"grey": "unreadable: build again"}
    assert made(built.built()) == []


def test_gc_keeps_what_an_altered_build_is_made_of(built: Project) -> None:
    before = built.entries()
    altered(built)
    built.run("store.gc")
    assert built.entries() == before


# ---------------------------------------------------------------- model files

MODEL_FILES: dict[str, bytes | None] = {
    "missing": None,
    "empty": b"",
    "random": random.Random(1).randbytes(3000),
    "cut in the header": INT8[:6],
    "cut in half": INT8[: len(INT8) // 2],
    "random after the header": INT8[:8] + random.Random(2).randbytes(3000),
}


@pytest.mark.parametrize("task", [("inspect",), ("bench", "--model")])
@pytest.mark.parametrize("content", MODEL_FILES.values(), ids=MODEL_FILES)
def test_model_file_that_is_none(project: Project, task: tuple[str, ...], content: bytes | None) -> None:
    if content is not None:
        project.add("bad.tflite", content)
    error = error_of(project, *task, "bad.tflite")
    assert error["code"] == "bad_model_file"
    assert "bad.tflite" in error["message"]


@pytest.mark.parametrize("task", [("inspect",), ("bench", "--target=null", "--model")])
def test_folder_as_model_file(project: Project, task: tuple[str, ...]) -> None:
    error = error_of(project, *task, "steps")
    assert error["code"] == "bad_model_file"
    assert "steps" in error["message"]


# ---------------------------------------------------------------- pictures


def one_bit_png(width: int, height: int) -> bytes:
    """Return a black PNG of one bit a pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = zlib.compress(bytes((1 + (width + 7) // 8) * height), 1)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def png(size: tuple[int, int]) -> bytes:
    from io import BytesIO

    stream = BytesIO()
    Image.fromarray(np.random.default_rng(1).integers(0, 256, size, np.uint8)).save(stream, "PNG")
    return stream.getvalue()


@pytest.mark.parametrize(
    "content",
    [None, b"", b"no picture at all", INT8, png((64, 64))[:200], one_bit_png(20_000, 20_000)],
    ids=["missing", "empty", "text", "model", "cut", "bomb"],
)
def test_picture_that_is_none(built: Project, content: bytes | None) -> None:
    if content is not None:
        built.add("digit.png", content)
    error = error_of(built, "predict", "--image=digit.png", *BUILD[1:])
    assert error["code"] == "bad_image"
    assert "digit.png" in error["message"]


@pytest.mark.parametrize("path", ["steps", "/dev/zero"])
def test_folder_or_device_as_picture(built: Project, path: str) -> None:
    error = error_of(built, "predict", f"--image={path}", *BUILD[1:])
    assert error["code"] == "bad_image"
    assert path in error["message"]


@pytest.mark.parametrize(("width", "height"), [(1, 1), (10_000, 10_000), (10_000, 1)])
def test_pictures_of_any_size(built: Project, width: int, height: int) -> None:
    built.add("digit.png", one_bit_png(width, height))
    result = built.run("predict", "--image=digit.png", *BUILD[1:], "--json")
    document = result.json("predict")
    assert document["predicted"] == "a"
    assert any("single value" in note for note in document["notes"])
    assert f"note: {document['notes'][0]}" in result.stderr


# ---------------------------------------------------------------- a full disk


def _resized(prefix: tuple[str, ...], size: str) -> tuple[str, ...]:
    subprocess.run([*prefix, "mount", "-o", f"remount,size={size}", "artifacts"], check=True)
    return prefix


@pytest.fixture
def small_disk(project: Project) -> Iterator[Callable[[str], tuple[str, ...]]]:
    """Lay a small file system over `artifacts`, in a mount namespace that ends with its holder.

    Gives a function that sets the size and returns the words before a command that is to see it.
    """
    (project.root / "artifacts").mkdir()
    script = "mount -t tmpfs -o size=64k tmpfs artifacts && echo mounted && exec cat"
    for options, entering in ((("-m",), ("-m",)), (("-Urm",), ("-m", "-U", "--preserve-credentials"))):
        holder = subprocess.Popen(
            ["unshare", *options, "sh", "-c", script],
            **{"cwd": project.root, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE},
        )
        with holder:
            if holder.stdout.readline() == b"mounted\n":  # type: ignore[union-attr]
                prefix = ("nsenter", f"--target={holder.pid}", *entering, f"--wd={project.root}")
                yield functools.partial(_resized, prefix)
                return
    pytest.skip("this machine lets us mount no file system")


@pytest.mark.skipif(not shutil.which("unshare"), reason="needs util-linux")
@pytest.mark.parametrize("kilobytes", [12, 32, 56, 84, 100])
def test_full_disk(project: Project, small_disk: Callable[[str], tuple[str, ...]], kilobytes: int) -> None:
    """The disk is full at another place of the build each time."""
    project.configure("null_train", fill_bytes=20_000)
    prefix = small_disk(f"{kilobytes}k")
    error = error_of(project, *BUILD, expect=4, prefix=prefix)
    assert error["code"] == "disk_full"
    assert "no space left" in error["message"]
    assert "free some space" in error["fix"]
    kept = project.run("store.verify", "--json", prefix=prefix).json("store")["entries"]
    small_disk("20m")
    document = project.built(prefix=prefix)
    assert {keys(document)[name] for name in keys(document) if name not in made(document)} == {
        entry["key"] for entry in kept
    }


def test_step_that_finds_the_disk_full(project: Project) -> None:
    """Needs no mount: the kernel answers every write to /dev/full so."""
    writing_nowhere = '    open("/dev/full", "wb").write(bytes(9999))\n    np.save(out'
    project.edit("steps/null_prune.py", "    np.save(out", writing_nowhere)
    assert error_of(project, *BUILD, expect=4)["code"] == "disk_full"
    project.run("store.verify")


def test_stdout_on_a_full_disk(built: Project) -> None:
    descriptor = os.open("/dev/full", os.O_WRONLY)
    try:
        result = built.run("targets", stdout=descriptor, expect=4)
    finally:
        os.close(descriptor)
    assert "no space left" in result.stderr
    assert "Traceback" not in result.stderr


# ---------------------------------------------------------------- the project


def test_no_project_at_all(project: Project, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    result = project.run("build", "--target=null", cwd=empty, expect=1)
    assert "Traceback" not in result.stderr
