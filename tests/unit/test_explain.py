"""Why a stage is made: which field of its key changed."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given

from pipeline.explain import differences, explain, plan_document, previous_keys
from pipeline.plan import Plan, Stage, make_plan
from pipeline.project import Project, open_project
from pipeline.store import Store, canonical_json
from pipeline.target import load_target
from pipeline.watch import Watch
from pipeline.workload import load_workload
from tests.strategies import quick, records, reordered

NULL = Path(__file__).parents[1] / "null" / "project"


# Differences of two records.


def plain(value: Any) -> Any:
    """Return the record without None, which stands for a missing field, and without dots in its names."""
    if isinstance(value, dict):
        return {name.replace(".", "_") or "_": plain(item) for name, item in value.items() if item is not None}
    return value


def changed(record: dict[str, Any], changes: list[dict[str, Any]], side: str) -> dict[str, Any]:
    """Return the record with each changed field as it is `before` or `after`."""
    record = copy.deepcopy(record)
    for change in changes:
        *path, last = change["field"].split(".")
        place = record
        for name in path:
            place = place[name]
        if change[side] is None:
            del place[last]
        else:
            place[last] = change[side]
    return record


@quick
@given(records, records)
def test_differences_are_empty_for_equal_keys_alone(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (differences(one, other) == []) == (canonical_json(one) == canonical_json(other))
    assert differences(one, reordered(one)) == []


@quick
@given(records, records)
def test_differences_lead_from_one_record_to_the_other(one: dict[str, Any], other: dict[str, Any]) -> None:
    before, after = plain(one), plain(other)
    changes = differences(before, after)
    assert canonical_json(changed(before, changes, "after")) == canonical_json(after)
    assert canonical_json(changed(after, changes, "before")) == canonical_json(before)


@quick
@given(records, records)
def test_differences_are_the_same_both_ways(one: dict[str, Any], other: dict[str, Any]) -> None:
    swapped = [
        {"field": change["field"], "before": change["after"], "after": change["before"]}
        for change in differences(other, one)
    ]
    assert canonical_json(swapped) == canonical_json(differences(one, other))


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"seed": 0}, {"seed": 1}, [("seed", 0, 1)]),
        ({"config": {"a": 1, "b": 2}}, {"config": {"a": 1, "b": 3}}, [("config.b", 2, 3)]),
        (
            {"source": {"x.py": "1"}},
            {"source": {"y.py": "1"}},
            [("source.x.py", "1", None), ("source.y.py", None, "1")],
        ),
        ({"config": {}}, {"config": {"new": None}}, [("config.new", None, None)]),
        ({"follows": ["1"]}, {"follows": ["2"]}, [("follows", ["1"], ["2"])]),
        ({"config": 3}, {"config": {"a": 3}}, [("config", 3, {"a": 3})]),
        ({"a": 1, "b": 1}, {"b": 2, "a": 2}, [("a", 1, 2), ("b", 1, 2)]),
        ({"a": 1}, {"a": True}, [("a", 1, True)]),  # another text, so another key
    ],
)
def test_leaves_are_named_with_what_they_were(before: Any, after: Any, expected: list[tuple[Any, ...]]) -> None:
    found = [(change["field"], change["before"], change["after"]) for change in differences(before, after)]
    assert found == expected


# Reasons.


@pytest.fixture
def project(tmp_path: Path) -> Project:
    shutil.copytree(NULL, tmp_path / "project", ignore=shutil.ignore_patterns("__pycache__"))
    return open_project(tmp_path / "project", Watch())


def plan_of(project: Project, seed: int = 0) -> Plan:
    return make_plan(load_target("null", project.root), load_workload("grey", project.root), seed, project.root)


def make(store: Store, *stages: Stage, seconds: float = 1.0) -> None:
    for stage in stages:
        with store.working_folder(stage.key) as folder:
            store.put(stage.key, stage.record, folder, {}, seconds)


def finish(project: Project, plan: Plan, seconds: float = 1.0) -> None:
    """Leave a project as a build of the plan does."""
    make(project.store, *plan.stages, seconds=seconds)
    folder = project.folder("grey", "null")
    folder.mkdir(parents=True, exist_ok=True)
    stages = [{"name": stage.name, "key": stage.key} for stage in plan.stages]
    (folder / "build.json").write_text(json.dumps({"stages": stages}))


def explained(project: Project, seed: int = 0, **options: Any) -> dict[str, Any]:
    """Return what a build would do now, stage by stage, as another process sees it."""
    project = open_project(project.root, Watch())
    target, workload = load_target("null", project.root), load_workload("grey", project.root)
    document = plan_document(plan_of(project, seed), target, workload, seed, project, **options)
    return {stage.name: stage for stage in document.stages}


def test_nothing_made_yet(project: Project) -> None:
    for stage in explained(project).values():
        assert (stage.state, stage.reason, stage.changes) == ("make", "it was never made here", [])


def test_after_a_build_everything_is_a_hit(project: Project) -> None:
    finish(project, plan_of(project))
    for stage in explained(project).values():
        assert (stage.state, stage.reason, stage.changes, stage.expected_seconds) == ("hit", "", [], None)


def test_force_says_so(project: Project) -> None:
    finish(project, plan_of(project))
    assert {(stage.state, stage.reason) for stage in explained(project, force=True).values()} == {
        ("make", "--force makes everything anew")
    }


def test_a_changed_seed_is_named_and_followed(project: Project) -> None:
    finish(project, plan_of(project))
    found = explained(project, seed=5)
    assert found["null_train"].reason == "changed: seed"
    assert found["null_train"].changes == [{"field": "seed", "before": 0, "after": 5}]
    assert found["null_prune"].reason == "the stage that it follows changed: null_train"
    assert [change["field"] for change in found["null_prune"].changes] == ["follows"]
    assert found["evaluate_baseline"].reason == "the stage that it follows changed: baseline"


def edit(file: str, old: str, new: str) -> Callable[[Path], Any]:
    def apply(root: Path) -> None:
        text = (root / file).read_text()
        assert old in text
        (root / file).write_text(text.replace(old, new, 1))

    return apply


PRUNE = 'step = "null_prune"'


@pytest.mark.parametrize(
    ("change", "stage", "fields", "before", "after"),
    [
        (
            edit("targets/null.toml", PRUNE, f"{PRUNE}\nfinal_sparsity = 0.7"),
            "null_prune",
            ["config.final_sparsity"],
            0.5,
            0.7,
        ),
        (
            edit("targets/null.toml", 'runner = "null"', 'runner = "null"\nthreads = 3'),
            "evaluate",
            ["config.threads"],
            1,
            3,
        ),
        (edit("steps/null_prune.py", "Stands for", "Is"), "null_prune", ["source.null_prune.py"], None, None),
        (edit("workloads/grey.py", "grey noise", "noise"), "null_train", ["source.grey.py"], None, None),
    ],
)
def test_the_changed_field_is_named(
    tmp_path: Path, change: Callable[[Path], Any], stage: str, fields: list[str], before: Any, after: Any
) -> None:
    """Two copies of a project stand for one before and after an edit: a process reads each file once."""
    old, new = tmp_path / "old", tmp_path / "new"
    for root in (old, new):
        shutil.copytree(NULL, root, ignore=shutil.ignore_patterns("__pycache__"))
    change(new)
    finish(Project(new, open_project(new, Watch()).store), plan_of(open_project(old, Watch())))
    found = explained(open_project(new, Watch()))[stage]
    assert found.state == "make"
    assert found.reason == "changed: " + ", ".join(fields)
    assert [one["field"] for one in found.changes if one["field"] != "follows"] == fields
    if before is not None:
        assert (found.changes[0]["before"], found.changes[0]["after"]) == (before, after)
    else:
        assert len(found.changes[0]["before"]) == len(found.changes[0]["after"]) == 64


@pytest.mark.parametrize("others", [False, True], ids=["nothing else there", "another seed's output is newer"])
def test_an_output_that_is_gone_is_not_called_a_change(project: Project, others: bool) -> None:
    plan = plan_of(project)
    finish(project, plan)
    if others:
        make(project.store, *plan_of(project, seed=9).stages)
    shutil.rmtree(project.store.root / "entries" / plan.stages[1].key)
    found = explained(project)
    assert (found["null_prune"].state, found["null_prune"].reason) == ("make", "its output is gone from the store")
    assert found["null_prune"].changes == []
    assert found["null_quantize"].state == "hit"


def test_without_a_finished_build_the_newest_output_is_compared_with(project: Project) -> None:
    make(project.store, *plan_of(project, seed=3).stages)
    found = explained(project)
    assert found["null_train"].changes == [{"field": "seed", "before": 3, "after": 0}]


def test_the_newest_of_several_outputs_is_compared_with(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    for day, seed in ((2, 7), (3, 8), (1, 9)):
        clock = type("Clock", (), {"now": lambda zone, day=day: datetime(2026, 1, day, tzinfo=zone)})
        monkeypatch.setattr("pipeline.store.datetime", clock)
        make(project.store, plan_of(project, seed).stages[0], seconds=seed)
    train = explained(project)["null_train"]
    assert train.changes == [{"field": "seed", "before": 8, "after": 0}]
    assert train.expected_seconds == 8


def test_seconds_are_those_of_the_same_step_and_config(project: Project) -> None:
    finish(project, plan_of(project, seed=3), seconds=7.0)
    found = explained(project)
    assert {stage.expected_seconds for stage in found.values()} == {7.0}


def test_damaged_records_are_passed_over(project: Project) -> None:
    plan = plan_of(project, seed=3)
    finish(project, plan)
    for stage, content in zip(plan.stages, ["", "[]", "{}", '{"record": {}}', "3", '{"record": 1}'], strict=True):
        path = project.store.root / "entries" / stage.key / "record.json"
        path.chmod(0o644)
        path.write_text(content)
    assert {stage.reason for stage in explained(project).values()} == {"it was never made here"}


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"stages": 3}', '{"stages": [{}]}', '{"stages": [1]}'])
def test_a_build_document_that_cannot_be_read_is_no_build(tmp_path: Path, content: str) -> None:
    assert previous_keys(tmp_path / "none.json") == {}
    (tmp_path / "build.json").write_text(content)
    assert previous_keys(tmp_path / "build.json") == {}


def test_explain_without_a_previous_key(project: Project) -> None:
    stage = plan_of(project).stages[0]
    assert explain(stage, None, project.store) == ("it was never made here", [])
    assert explain(stage, "0" * 64, project.store) == ("it was never made here", [])
