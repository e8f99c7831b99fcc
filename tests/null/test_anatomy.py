"""All parts of a build from its folder: kept in the store, and each missing by name where it cannot be had."""

from __future__ import annotations

import json
import shutil
from typing import Any

import numpy as np
import pytest

from pipeline import bench_files, untrusted
from pipeline.anatomy import parts
from pipeline.anatomy.anatomy import anatomy_of
from pipeline.anatomy.document import Anatomy
from pipeline.errors import BadTarget
from pipeline.intervals import Interval
from pipeline.operator_times import OperatorTimes
from pipeline.project import open_project
from pipeline.watch import Watch
from tests.null.cli import DATA, Project, keys
from tests.unit.test_documents import bench_document

FIELDS = set(Anatomy.model_fields) - {"sha256", "missing", "notes"}


def anatomy(project: Project, target: str = "null", **options: Any) -> Anatomy:
    return anatomy_of(project.artifact(target).parent, open_project(project.root, Watch()), Watch(), **options)


def document(project: Project) -> dict[str, Any]:
    return json.loads(project.artifact(name="build.json").read_text())


def estimate() -> OperatorTimes:
    one = Interval(value=1.0, low=0.9, high=1.1)
    return OperatorTimes(whole_us=one, dispatch_floor_us=one, dispatch_floor_share=1.0, operators=(), rounds=1)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The tasks that child processes were given."""
    tasks: list[str] = []

    def ask(task: str, *arguments: Any, **options: Any) -> Any:
        tasks.append(task)
        return untrusted.ask(task, *arguments, **options)

    monkeypatch.setattr(parts, "ask", ask)
    return tasks


def test_the_parts_of_a_build(built: Project) -> None:
    found = anatomy(built)
    assert found.sha256 == document(built)["sha256"]
    assert sum(piece.bytes for piece in found.bytes) == document(built)["size_bytes"]
    assert [node.name for node in found.graph] == ["INPUT", "CONV_2D", "RESHAPE", "FULLY_CONNECTED"]
    assert {row.layer for row in found.layer_noise} == {"conv2d", "flatten", "dense"}
    assert found.confusion is not None
    # The null runner takes everything for the first class.
    assert found.confusion.file_counts == [[10] + [0] * 9] * 10 == found.confusion.float_counts
    assert found.disagreements is not None
    assert (found.disagreements.samples, found.disagreements.shown) == (100, [])
    assert found.missing == {
        "calibration": "no step of the recipe took a representative dataset",
        "operator_times": "not measured: `invoke report --times` or `invoke bench --profile` estimates them",
        **({} if found.curves else {"curves": "no stage of the recipe recorded a training"}),
    }


def test_a_second_call_runs_nothing(built: Project, asked: list[str]) -> None:
    first = anatomy(built)
    assert asked == ["dissect"]
    assert anatomy(built) == first
    assert asked == ["dissect"]


def test_a_damaged_part_is_made_anew(built: Project, asked: list[str]) -> None:
    before = built.entries()
    first = anatomy(built)
    (key,) = built.entries() - before
    file = built.entry(key) / "anatomy.json"
    file.chmod(0o644)
    file.write_text(file.read_text().replace("conv2d", "conv3d"))
    assert anatomy(built) == first
    assert asked == ["dissect", "dissect"]


def test_gc_keeps_the_parts_of_a_kept_file_and_no_others(built: Project) -> None:
    before = built.entries()
    anatomy(built)
    (key,) = built.entries() - before
    built.run("store.gc")
    assert key in built.entries()
    built.artifact(name="build.json").unlink()
    built.run("store.gc")
    assert key not in built.entries()


def test_without_the_float_file_its_parts_are_missing_by_name(built: Project, asked: list[str]) -> None:
    shutil.rmtree(built.entry(keys(document(built))["baseline"]))
    found = anatomy(built)
    assert found.missing["layer_noise"] == "the store no longer has the float32 file: build again"
    assert found.layer_noise == []
    assert found.graph
    assert found.confusion is not None, "the answers were kept"
    # Once it is there again, so are they.
    built.build()
    assert "layer_noise" not in anatomy(built).missing
    assert asked == ["dissect", "dissect"]


def test_a_damaged_float_file_is_none(built: Project) -> None:
    model = built.entry(keys(document(built))["baseline"]) / "model.tflite"
    model.chmod(0o644)
    model.write_bytes((DATA / "tiny_int8.tflite").read_bytes())
    assert "float32 file" in anatomy(built).missing["layer_noise"]


def test_without_the_answers_their_parts_are_missing(built: Project) -> None:
    shutil.rmtree(built.entry(keys(document(built))["evaluate_baseline"]))
    found = anatomy(built)
    assert found.missing["confusion"] == found.missing["disagreements"]
    assert "float32 file's answers" in found.missing["confusion"]
    assert found.layer_noise


@pytest.mark.parametrize("change", ["gone", "other labels", "fails", "broken"])
def test_samples_of_another_workload_are_not_used(built: Project, change: str) -> None:
    """Whatever became of the workload: no part is of other samples than the build's."""
    path = built.root / "workloads" / "grey.py"
    source = path.read_text()
    if change == "gone":
        path.unlink()
    elif change == "other labels":
        path.write_text(source.replace("% 10", "% 9"))
    elif change == "fails":
        path.write_text("raise RuntimeError('no data here')\n" + source)
    else:
        path.write_text(source + "\n(")
    found = anatomy(built)
    for part in ("confusion", "disagreements", "layer_noise"):
        assert not getattr(found, part)
        assert found.missing[part]
    assert "activations" in found.missing["histograms"]
    assert {one.kind for one in found.histograms} == {"weights"}
    assert found.graph
    assert found.bytes


def test_a_workload_that_fails_when_it_is_asked(built: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(workload: Any, split: str) -> None:
        raise RuntimeError("the disk with the pictures is away")

    monkeypatch.setattr("pipeline.workload.Workload.load", fail)
    found = anatomy(built)
    reason = "the workload fails: RuntimeError: the disk with the pictures is away"
    assert found.missing["confusion"] == found.missing["disagreements"] == found.missing["layer_noise"] == reason
    assert found.missing["histograms"] == f"activations: {reason}"


def test_another_file_than_the_builds_is_refused(built: Project) -> None:
    built.artifact().write_bytes((DATA / "tiny_float32.tflite").read_bytes())
    with pytest.raises(BadTarget, match="is not the file that build.json describes"):
        anatomy(built)


def test_a_folder_without_a_build_is_refused(built: Project) -> None:
    with pytest.raises(BadTarget, match="no finished build"):
        anatomy(built, "never_built")


def test_a_folder_with_a_measurement_alone_has_that(built: Project) -> None:
    folder = built.artifact().parent
    result = bench_document().results[0]
    (folder / "bench.json").write_text(result.model_dump_json())
    (folder / "build.json").unlink()
    found = anatomy(built)
    assert found.sha256 == result.sha256
    assert found.missing.keys() == FIELDS - ({"operator_times"} if result.profile else set())
    assert found.operator_times == result.profile


def test_times_are_those_of_this_very_file(built: Project) -> None:
    folder = built.artifact().parent
    profile = estimate()
    result = bench_document().results[0].model_copy(update={"profile": profile})
    (folder / "bench.json").write_text(result.model_dump_json())
    assert anatomy(built).operator_times is None, "it is another file's"
    own = result.model_copy(update={"sha256": document(built)["sha256"]})
    (folder / "bench.json").write_text(own.model_dump_json())
    assert anatomy(built).operator_times == profile
    assert "operator_times" not in anatomy(built).missing


def test_times_that_are_asked_for_are_estimated_once(
    built: Project, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert anatomy(built, times=True).missing["operator_times"] == "the target's runner gives no times"
    measured: list[Any] = []
    monkeypatch.setattr("pipeline.runners.null.MEASURES_TIME", True)
    monkeypatch.setattr(bench_files, "timed_operators", lambda *given: measured.append(given) or estimate())
    assert anatomy(built, times=True).operator_times == estimate()
    assert anatomy(built, times=True).operator_times == estimate()
    assert len(measured) == 1


def test_kept_times_are_shown_without_asking_the_device(
    built: Project, asked: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert anatomy(built).operator_times is None
    monkeypatch.setattr("pipeline.runners.null.MEASURES_TIME", True)
    monkeypatch.setattr(bench_files, "timed_operators", lambda *given: estimate())
    anatomy(built, times=True)
    monkeypatch.setattr("pipeline.runners.null.device", None)
    assert anatomy(built).operator_times == estimate()
    path = built.artifact(name="build.json")
    content = json.loads(path.read_text())
    content["device"]["device"]["name"] = "another board"
    path.write_text(json.dumps(content))
    assert anatomy(built).operator_times is None, "they are another device's"


def test_disagreements_show_the_pictures(built: Project) -> None:
    """The kept answers of one file are altered, with the hashes that the store has of them."""
    key = keys(document(built))["evaluate"]
    store = open_project(built.root, Watch()).store
    entry = store.get(key)
    assert entry is not None
    with store.working_folder(key) as out:
        for name in entry.files:
            shutil.copyfile(entry.folder / name, out / name)
        answers = np.load(out / "test.npy")
        answers[[3, 10]] = 3
        np.save(out / "test.npy", answers)
        store.put(key, entry.record, out, entry.facts, entry.seconds)
    found = anatomy(built).disagreements
    assert found is not None
    assert (found.lost, found.gained, found.both_wrong) == (1, 1, 0)
    assert [(one.index, one.label, one.float_answer, one.file_answer) for one in found.shown] == [
        (10, "a", "a", "d"),
        (3, "d", "a", "d"),
    ]
    assert all(one.picture.startswith("data:image/png;base64,") for one in found.shown)


def test_a_task_without_classes_has_no_confusion(project: Project) -> None:
    project.edit("workloads/grey.py", "np.arange(count) % 10", "np.zeros((count, 10), np.float32)")
    project.edit("workloads/grey.py", "\nLABELS", '\nTASK = "regression"\nLABELS')
    project.budget(size_bytes=20_000)
    project.build()
    found = anatomy(project)
    assert found.confusion is found.disagreements is None
    reason = "samples of the task 'regression' have no class each"
    assert found.missing["confusion"] == found.missing["disagreements"] == reason
    assert found.layer_noise
