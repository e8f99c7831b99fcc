"""One release goes to every kind of destination by the command line, and comes back from each, verified."""

from __future__ import annotations

import json
import shutil
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from github_server import TOKEN, running_github
from moto_s3 import make_bucket, moto_s3, s3_environment
from oci_registry import running_registry

from tests.null.cli import Project
from tests.null.releasing import STEM, git, make_ready, release


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project.create(tmp_path_factory.mktemp("everywhere"))
    project.build()
    return make_ready(project)


@contextmanager
def gcs_emulator() -> Iterator[str]:
    from gcp_storage_emulator.server import create_server

    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket="bucket")
    server.start()
    try:
        yield f"http://127.0.0.1:{server._api._httpd.server_address[1]}"
    finally:
        server.stop()


@contextmanager
def place(kind: str, project: Project, folder: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Start what the kind of destination needs; yield its URL and the environment that the commands need."""
    with ExitStack() as stack:
        if kind == "folder":
            yield str(folder / "a shelf"), {}
        elif kind == "file":
            yield f"file://{folder}/shelf", {}
        elif kind == "hf-layout":
            yield f"hf-layout://{folder}/model", {}
        elif kind == "s3":
            url, bucket = stack.enter_context(moto_s3()), f"b-{uuid.uuid4()}"
            make_bucket(url, bucket)
            yield f"s3://{bucket}/digits", dict(s3_environment(url))
        elif kind == "gs":
            yield "gs://bucket/digits", {"STORAGE_EMULATOR_HOST": stack.enter_context(gcs_emulator())}
        elif kind == "oci":
            registry = stack.enter_context(running_registry(folder / "registry"))
            yield f"oci://{registry}/team/digits", {"DOCKER_CONFIG": str(folder)}
        else:
            server = stack.enter_context(running_github({git(project, "rev-parse", "HEAD")}))
            yield "github://team/models", {"GITHUB_API_URL": server.url, "GITHUB_TOKEN": TOKEN}


@pytest.mark.parametrize("kind", ["folder", "file", "hf-layout", "s3", "gs", "oci", "github"])
def test_there_and_back(ready: Project, tmp_path: Path, kind: str) -> None:
    project = ready.copy(tmp_path / "project")
    key = ready.root.parent / "release.key"
    shutil.copy(key, project.root.parent)
    public = f"--key={key.with_suffix('.pub')}"
    (tmp_path / "registry").mkdir()
    with place(kind, project, tmp_path) as (url, environment):
        told = ""
        for expected in ("published", "was published before"):
            answer = release(project, f"--to={url}", "--json", env=environment)
            assert answer.json("release")["state"] == expected
            told += answer.stdout + answer.stderr
        flags = (f"--from={url}", public, "--json")
        verified = project.run("verify-release", *flags, "--quick", env=environment)
        assert verified.json("verify_release")["version"] == "1.0.0"
        got = project.run("fetch", *flags, "--target=null", f"--to={tmp_path / 'to'}", env=environment)
        document = got.json("fetch")
        assert (document["version"], document["signature"]) == ("1.0.0", "good")
        assert Path(document["model"]).read_bytes() == project.artifact().read_bytes()
        missing = project.run("fetch", *flags, "--target=null", "--version=9.9.9", env=environment, expect=2)
        assert "1.0.0" in missing.json("error")["error"]["expected"]
        for answer in (verified, got, missing):
            told += answer.stdout + answer.stderr
        for secret in (TOKEN, environment.get("AWS_SECRET_ACCESS_KEY", TOKEN)):
            assert secret not in told
    manifest = json.loads((tmp_path / "to" / "1.0.0" / "manifest.json").read_text())
    assert manifest["targets"][0]["model"] == f"{STEM}.tflite"
