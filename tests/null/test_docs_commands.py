"""Commands and programs of the documentation, run as they stand there.

The project has shipped targets' and techniques' names, made of numpy-only steps and the null runner: a name in
`targets/` wins over what ships. What cannot run in such a project is listed below with the reason.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from docs_blocks import Block, blocks, tasks_called
from PIL import Image

from docs.made.pages import shipped_techniques
from tests.null.cli import DATA, Project

TRAINS = "trains a network, in tests/e2e/test_own_data.py"
SENSITIVITY = "quantizes layer by layer with TensorFlow, in tests/e2e/test_sensitivity.py"
CLOUD = "publishes to a bucket, in tests/null/test_release_everywhere.py against stand-ins"
RELEASE = "reads a release that another command made, in tests/null/test_release.py"
ZOO = "builds a network with TensorFlow, in tests/e2e/test_check_layers.py"
# The beginning of a command, and why it does not run here.
NOT_RUN = {
    "build --data": TRAINS,
    "build --target=flowers": TRAINS,
    "sensitivity": SENSITIVITY,
    "release": CLOUD,
    "fetch": CLOUD,
    "verify-release": RELEASE,
    "check mobilenet_v2": ZOO,
    "check ds_cnn": ZOO,
    "check trained.keras": "reads a Keras file, in tests/e2e/test_check_layers.py",
    "bench --model": "measures with the real interpreter, in tests/e2e/test_operator_times.py",
    "inspect FILE.tflite --open": "serves until it is interrupted, in test_netron_view.py",
    "track --mlflow": "needs a server, in test_track.py",
    "report --target=mobile --compare": "needs a comparison, in test_report.py",
    "report --serve": "serves until it is interrupted, in the report's own tests",
    "bench --compare": "starts twenty processes, in tests/null/test_bench_flags.py",
    "compare --target=mobile --techniques": "one comparison of all techniques runs here",
    "bench --target=mobile --runs=5000 --min-time=2": "samples for long, in tests/null/test_bench_flags.py",
}


def _pages() -> list[Block]:
    return [
        block for block in blocks() if block.is_commands and not block.page.startswith(("examples/", "benchmarks/"))
    ]


CALLS = list(dict.fromkeys(tuple(call) for block in _pages() for call in tasks_called(block)))


def reason(call: tuple[str, ...]) -> str:
    """Return why a call is not run here; empty where it is."""
    return next((why for start, why in NOT_RUN.items() if " ".join(call).startswith(start)), "")


@pytest.fixture(scope="module")
def newcomer(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project in which the names of the documentation exist, with one finished build."""
    project = Project.create(tmp_path_factory.mktemp("docs"))
    null = (project.root / "targets" / "null.toml").read_text(encoding="utf-8")
    for name in ("mobile", "raspberry-pi", "microcontroller", "ethos-u55", "browser", "tutorial"):
        project.add(f"targets/{name}.toml", null)
    grey = (project.root / "workloads" / "grey.py").read_text(encoding="utf-8")
    for name in ("mnist", "mnist_dense"):
        project.add(f"workloads/{name}.py", grey)
    recipe = 'recipe = [{ step = "null_quantize", scheme = "SCHEME" }]'
    project.add(
        "techniques.toml",
        "\n".join(
            f'[technique.{name}]\ndescription = "{name}"\nfloat_io = {str(name == "float32").lower()}\n'
            + recipe.replace("SCHEME", "float32" if name == "float32" else "int8")
            for name in shipped_techniques()
        ),
    )
    for name in ("somebodys.tflite", "FILE.tflite"):
        shutil.copyfile(DATA / "tiny_float32.tflite", project.root / name)
    random = np.random.default_rng(0)
    for label in ("daisy", "rose"):
        for number in range(40):
            picture = project.root / "photos" / "flowers" / label / f"{number}.png"
            picture.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(picture)
    Image.new("L", (28, 28), 255).save(project.root / "digit.png")
    for target in ("mobile", "raspberry-pi"):
        project.run("build", f"--target={target}")
    (project.root / "earlier").mkdir()
    shutil.copyfile(project.root / "artifacts/mnist/mobile/build.json", project.root / "earlier" / "build.json")
    (project.root / "main").mkdir()
    return project


@pytest.mark.parametrize("call", [call for call in CALLS if not reason(call)], ids=" ".join)
def test_a_command_runs_as_it_stands(newcomer: Project, tmp_path: Path, call: tuple[str, ...]) -> None:
    result = newcomer.copy(tmp_path).run(*call)
    assert result.stdout.strip()
    assert "Traceback" not in result.stderr


def test_what_is_not_run_is_in_the_documentation() -> None:
    written = [" ".join(call) for call in CALLS]
    for start in NOT_RUN:
        assert any(call.startswith(start) for call in written), f"{start}: in no page"
    assert len([call for call in CALLS if not reason(call)]) >= 20


# ---------------------------------------------------------------- Python

PYTHON = [block for block in blocks() if block.language == "python"]


@pytest.mark.parametrize("block", PYTHON, ids=lambda block: block.place)
def test_a_program_runs_as_it_stands(newcomer: Project, tmp_path: Path, block: Block) -> None:
    project = newcomer.copy(tmp_path)
    shutil.copyfile(project.root / "workloads" / "grey.py", project.root / "workloads" / "flowers.py")
    done = subprocess.run(
        [sys.executable, "-c", block.text],
        cwd=project.root,
        env={name: value for name, value in project.environment.items() if name != "TF_USE_LEGACY_KERAS"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert bool(done.stdout) == ("print(" in block.text)
