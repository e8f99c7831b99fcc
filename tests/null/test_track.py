"""`invoke track`: what TensorBoard and MLflow have of a build, read back from their own servers."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.http_faults import Fault, FaultyHandler, FaultyServer, at_most, serving
from tests.null.cli import REPOSITORY, Project

MLFLOW_PYTHON = REPOSITORY / "tests" / ".mlflow" / "bin" / "python"
START_SECONDS = 180  # servers import much; on a busy machine that takes its time
PASSWORD = "hush-hush-4711"


def asked(url: str, body: dict[str, Any] | None = None) -> Any:
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer)


@contextmanager
def running(command: list[Any], probe: str, folder: Path) -> Iterator[None]:
    """Run a server in a process group of its own until it is no longer needed."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    quiet = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(
            list(map(str, command)), cwd=folder, env=kept | quiet, stdout=log, stderr=log, start_new_session=True
        )
    try:
        ends = time.monotonic() + START_SECONDS
        while True:
            try:
                urllib.request.urlopen(probe, timeout=5).close()
                break
            except OSError:
                told = (folder / "server.log").read_text(errors="replace")[-2000:]
                assert process.poll() is None, told
                assert time.monotonic() < ends, told
                time.sleep(0.2)
        yield
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def with_curves(built: Project) -> None:
    """Have a stage of the build tell what a training tells."""
    path = built.artifact(name="build.json")
    document = json.loads(path.read_text())
    document["stages"][0]["facts"]["history"] = {"loss": [0.5, 0.25, 0.125], "val_accuracy": [0.5, 0.75, 0.875]}
    path.write_text(json.dumps(document))


# ---------------------------------------------------------------- TensorBoard


def test_tensorboard_shows_curves_histograms_figures_and_the_verdict(built: Project, tmp_path: Path) -> None:
    with_curves(built)
    document = built.run("track", "--tensorboard=runs", "--json").json("track")
    (one,) = document["tracked"]
    port, run = free_port(), str(Path(one["place"]).relative_to("runs"))
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", built.root / "runs", "--port", port]
    base = f"http://127.0.0.1:{port}/data"
    with running([*command, "--host", "127.0.0.1", "--reload_interval", 1], f"{base}/environment", tmp_path):
        ends = time.monotonic() + START_SECONDS
        while run not in asked(f"{base}/runs") and time.monotonic() < ends:
            time.sleep(0.2)

        def plugin(name: str, tag: str) -> Any:
            return asked(f"{base}/plugin/{name}?run={quote(run, safe='')}&tag={quote(tag, safe='')}")

        curve = plugin("scalars/scalars", "null_train/loss")
        assert [row[1:] for row in curve] == [[1, 0.5], [2, 0.25], [3, 0.125]]
        size = plugin("scalars/scalars", "figures/size_bytes")
        assert size[0][2] == built.artifact().stat().st_size
        tags = asked(f"{base}/plugin/histograms/tags")[run]
        weights = next(tag for tag in tags if tag.startswith("weights/"))
        (step,) = plugin("histograms/histograms", weights)
        assert step[1] == 1
        assert sum(row[2] for row in step[2]) > 0
        text = plugin("text/text", "verdict")
        assert one["sha256"] in text[0]["text"]
        hparams = asked(f"{base}/plugin/hparams/experiment", {"hparamsLimit": 100})
        assert {"seed", "target", "recipe"} <= {info["name"] for info in hparams["hparamInfos"]}


def test_a_build_tracked_twice_is_one_run_of_equal_bytes(built: Project) -> None:
    first = built.run("track", "--tensorboard=runs", "--json").json("track")["tracked"][0]
    files = {path: path.read_bytes() for path in (built.root / "runs").rglob("*") if path.is_file()}
    second = built.run("track", "--tensorboard=runs", "--json").json("track")["tracked"][0]
    assert (first["updated"], second["updated"]) == (False, True)
    assert files == {path: path.read_bytes() for path in (built.root / "runs").rglob("*") if path.is_file()}
    assert len(files) == 1


# ---------------------------------------------------------------- MLflow


@pytest.fixture(scope="module")
def mlflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if not MLFLOW_PYTHON.is_file():
        pytest.skip("no MLflow server: .ci/devices/mlflow.sh installs one")
    folder, port = tmp_path_factory.mktemp("mlflow"), free_port()
    command: list[Any] = [MLFLOW_PYTHON, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", port]
    store = ["--backend-store-uri", f"sqlite:///{folder}/runs.db", "--artifacts-destination", folder / "files"]
    with running([*command, *store, "--serve-artifacts", "--workers", 1], f"http://127.0.0.1:{port}/health", folder):
        yield f"http://127.0.0.1:{port}"


def runs_of(server: str, experiment: str) -> list[Any]:
    base = f"{server}/api/2.0/mlflow"
    found = asked(f"{base}/experiments/get-by-name?experiment_name={experiment}")["experiment"]["experiment_id"]
    return asked(f"{base}/runs/search", {"experiment_ids": [found]})["runs"]


def pairs(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return {row["key"]: row["value"] for row in rows}


def test_mlflow_has_parameters_figures_curves_tags_and_files(built: Project, mlflow: str) -> None:
    with_curves(built)
    built.run("track", f"--mlflow={mlflow}", "--experiment=whole")
    (run,) = runs_of(mlflow, "whole")
    data, model = run["data"], built.artifact()
    figures, tags = pairs(data["metrics"]), pairs(data["tags"])
    assert figures["size_bytes"] == model.stat().st_size
    assert {"test_accuracy", "test_accuracy_low", "p50_us", "p50_us_low", "p50_us_high", "pass"} <= set(figures)
    parameters = pairs(data["params"])
    assert parameters["seed"] == "0"
    assert "version.python" in parameters
    assert any(name.startswith("null_quantize.") for name in parameters)
    built_document = json.loads(built.artifact(name="build.json").read_text())
    assert (tags["sha256"], tags["verdict"]) == (built_document["sha256"], built_document["verdict"])
    identifier = run["info"]["run_id"]
    base = f"{mlflow}/api/2.0/mlflow"
    history = asked(f"{base}/metrics/get-history?run_id={identifier}&metric_key=null_train/loss")["metrics"]
    assert [(row.get("step"), row["value"]) for row in history] == [(1, 0.5), (2, 0.25), (3, 0.125)]
    url = f"{mlflow}/get-artifact?run_id={identifier}&path=model.tflite"
    with urllib.request.urlopen(url, timeout=30) as answer:
        assert answer.read() == model.read_bytes()
    assert run["info"]["status"] == "FINISHED"


def test_a_build_tracked_again_updates_its_run(built: Project, mlflow: str) -> None:
    command = ("track", f"--mlflow={mlflow}", "--experiment=again", "--json")
    first, second = (built.run(*command).json("track")["tracked"][0] for _ in range(2))
    (run,) = runs_of(mlflow, "again")
    assert first["place"] == second["place"]
    assert (first["updated"], second["updated"]) == (False, True)
    url = f"{mlflow}/api/2.0/mlflow/metrics/get-history?run_id={run['info']['run_id']}&metric_key=size_bytes"
    assert len(asked(url)["metrics"]) == 1


@contextmanager
def refusing(what: str, status: int) -> Iterator[str]:
    class Handler(FaultyHandler):
        def respond(self, body: bytes) -> tuple[int, dict[str, str], bytes]:
            return status, {"Location": "http://127.0.0.1:1/"}, f"said {self.headers.get('Authorization')}".encode()

    server = FaultyServer(Handler)
    if what == "hang":
        server.faults = [Fault(method, "", "hang", times=100) for method in ("GET", "POST")]
    with serving(server):
        yield server.address


@pytest.mark.parametrize(
    ("what", "status", "code", "told"),
    [
        ("status", 401, 2, "does not accept the credentials"),
        ("status", 403, 2, "does not accept the credentials"),
        ("status", 500, 4, "does not do its part"),
        ("status", 302, 4, "does not do its part"),
        ("status", 200, 4, "does not do its part"),
        ("hang", 200, 4, "no answer within 1 s"),
    ],
)
def test_a_server_that_does_not_do_its_part(built: Project, what: str, status: int, code: int, told: str) -> None:
    quick = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "1", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    with refusing(what, status) as address, at_most(60):
        result = built.run("track", f"--mlflow=http://me:{PASSWORD}@{address}", expect=code, env=quick)
    assert told in result.stderr
    encoded = base64.b64encode(f"me:{PASSWORD}".encode()).decode()  # which the server repeats in its answer
    assert not {PASSWORD, encoded} & set(re.split(r"[\s'\"]+", result.stderr + result.stdout))
    assert "Traceback" not in result.stderr


def test_no_server_there(built: Project) -> None:
    address = f"http://me:{PASSWORD}@127.0.0.1:{free_port()}"
    result = built.run("track", f"--mlflow={address}", expect=4, env={"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"})
    assert "no connection" in result.stderr
    assert PASSWORD not in result.stderr


# ---------------------------------------------------------------- requests


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ((), "neither --tensorboard nor --mlflow"),
        (("--tensorboard=runs", "--experiment=a"), "--experiment goes with --mlflow"),
        (("--mlflow=ftp://me:hush-hush-4711@host",), "--mlflow is no address"),
        (("--mlflow=http://me:hush-hush-4711@host:port",), "--mlflow is no address"),
        (("--tensorboard=runs", "--target=nope"), "one of grey/null"),
        (("--tensorboard=tasks.py",), "cannot hold runs"),
    ],
)
def test_wrong_requests(built: Project, flags: tuple[str, ...], told: str) -> None:
    result = built.run("track", *flags, expect=2)
    assert told in result.stderr
    assert PASSWORD not in result.stderr


def test_without_a_build_the_next_command_is_named(project: Project) -> None:
    shutil.rmtree(project.root / "artifacts", ignore_errors=True)
    assert "invoke build --target=mobile" in project.run("track", "--tensorboard=runs", expect=2).stderr
