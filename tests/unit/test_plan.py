"""Plans and the keys of their stages: what changes a key, and what does not."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import EXIT_REQUEST, BadTarget, DataError, RequestError
from pipeline.plan import Plan, make_plan, whole_recipe
from pipeline.store import canonical_json, key_of
from pipeline.target import load_target
from pipeline.workload import load_workload
from tests.strategies import quick

ROOT = Path(__file__).parents[2]
NULL = ROOT / "tests" / "null" / "project"
RECIPE = {"null_train", "null_prune", "null_quantize"}
EVERY = RECIPE | {"evaluate", "baseline", "evaluate_baseline"}
AFTER_PRUNE = {"null_prune", "null_quantize", "evaluate"}
FILES = {"null_quantize", "evaluate", "baseline", "evaluate_baseline"}


@pytest.fixture(autouse=True)
def _import_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workloads given by path put their folder on the import path."""
    monkeypatch.setattr(sys, "path", sys.path.copy())


def copy_project(folder: Path) -> Path:
    shutil.copytree(NULL, folder, ignore=shutil.ignore_patterns("__pycache__"))
    grey = folder / "workloads" / "grey.py"
    grey.write_text(
        grey.read_text().replace("import numpy", "from pathlib import Path\n\nimport helper\nimport numpy", 1)
        + '\nDATA_FILES = tuple(Path(__file__).parents[1].glob("data/*/x.bin"))\n'
    )
    (folder / "workloads" / "helper.py").write_text("")
    for name in "ab":
        (folder / "data" / name).mkdir(parents=True)
        (folder / "data" / name / "x.bin").write_bytes(name.encode())
    return folder


def plan_of(root: Path, seed: int = 0) -> Plan:
    """Return the plan of the project's null target on its grey workload, whose path lets it import a neighbour."""
    return make_plan(load_target("null", root), load_workload(str(root / "workloads" / "grey.py")), seed, root)


def keys(plan: Plan) -> dict[str, str]:
    return {stage.name: stage.key for stage in plan.stages}


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    assert list(before) == list(after)
    return {name for name in before if before[name] != after[name]}


def test_stages_in_the_order_in_which_they_run() -> None:
    plan = make_plan(load_target("null", NULL), load_workload("grey", NULL), 3, NULL)
    assert [(stage.name, stage.follows, stage.produces) for stage in plan.stages] == [
        ("null_train", None, "keras"),
        ("null_prune", "null_train", "keras"),
        ("null_quantize", "null_prune", "tflite"),
        ("evaluate", "null_quantize", "evaluation"),
        ("baseline", "null_train", "tflite"),
        ("evaluate_baseline", "baseline", "evaluation"),
    ]
    assert plan.final == "null_quantize"
    assert all(stage.key == key_of(stage.record) for stage in plan.stages)


def test_seed_and_dtypes_are_filled_in() -> None:
    stages = {stage.name: stage for stage in make_plan(load_target("mobile"), load_workload("mnist"), 7).stages}
    assert {stages[name].config.seed for name in ("train", "prune", "quantize")} == {7}
    assert (stages["quantize"].config.input_dtype, stages["quantize"].config.output_dtype) == ("int8", "int8")
    assert (stages["baseline"].config.input_dtype, stages["baseline"].config.scheme) == ("float32", "float32")


def replace(file: str, old: str, new: str) -> Callable[[Path], Any]:
    def apply(root: Path) -> None:
        text = (root / file).read_text()
        assert old in text
        (root / file).write_text(text.replace(old, new, 1))

    return apply


TARGET = "targets/null.toml"
PRUNE = 'step = "null_prune"'


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda root: None, set()),
        (replace("workloads/grey.py", "grey noise", "grey noise, indeed"), EVERY),
        (replace("workloads/helper.py", "", "x = 1"), EVERY),
        (lambda root: (root / "data/a/x.bin").write_bytes(b"A"), EVERY),
        (lambda root: (root / "data/b/x.bin").write_bytes(b"B"), EVERY),
        (replace("steps/null_train.py", "normal(", "uniform("), EVERY),
        (replace("steps/null_prune.py", "Stands for", "Is no"), AFTER_PRUNE),
        (replace("steps/null_quantize.py", "Stands for", "Is no"), FILES),
        (replace(TARGET, 'step = "null_train"', 'step = "null_train"\nepochs = 3'), EVERY),
        (replace(TARGET, PRUNE, f"{PRUNE}\nfinal_sparsity = 0.6"), AFTER_PRUNE),
        (replace(TARGET, PRUNE, f"{PRUNE}\nfinal_sparsity = 0.5"), set()),  # as it is when left out
        (replace(TARGET, 'scheme = "float32"', 'scheme = "int8"'), {"baseline", "evaluate_baseline"}),
        (replace(TARGET, 'runner = "null"', 'runner = "null"\nthreads = 2'), {"evaluate", "evaluate_baseline"}),
        (replace(TARGET, "size_bytes = 20_000", "size_bytes = 1"), set()),
        (replace(TARGET, "No device", "Another text"), set()),
        (lambda root: (root / "steps" / "another.py").write_text("PRODUCES = 1"), set()),
        (lambda root: shutil.copy(root / TARGET, root / "targets" / "other.toml"), set()),
    ],
    ids=[
        "nothing",
        "the workload",
        "what the workload imports",
        "a data file",
        "a data file of the same name",
        "the first step",
        "the second step",
        "the last step",
        "config of the first",
        "config of the second",
        "config said aloud",
        "config of the baseline",
        "threads",
        "a budget",
        "the description",
        "a step that is not used",
        "another target",
    ],
)
def test_what_changes_which_keys(tmp_path: Path, change: Callable[[Path], Any], expected: set[str]) -> None:
    before, after = copy_project(tmp_path / "before"), copy_project(tmp_path / "after")
    change(after)
    assert changed(keys(plan_of(before)), keys(plan_of(after))) == expected


def test_the_seed_changes_what_it_seeds_and_all_that_follows() -> None:
    grey, null = load_workload("grey", NULL), load_target("null", NULL)
    assert changed(*(keys(make_plan(null, grey, seed, NULL)) for seed in (0, 0))) == set()
    assert changed(*(keys(make_plan(null, grey, seed, NULL)) for seed in (0, 1))) == EVERY


def test_library_versions_count_where_they_shape_the_output(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version
    plans = []
    for newer in ("", "numpy", "tensorflow-model-optimization"):
        monkeypatch.setattr(importlib.metadata, "version", lambda name, newer=newer: real(name) + "1" * (name == newer))
        plans.append(keys(make_plan(load_target("mobile"), load_workload("mnist"), 0)))
    assert changed(plans[0], plans[1]) == set(plans[0])
    assert changed(plans[0], plans[2]) == {"prune", "quantize", "slim", "evaluate"}


@quick
@given(st.integers(0, 2**31 - 1), st.integers(0, 2**31 - 1))
def test_keys_are_pure(one: int, other: int) -> None:
    null, grey = load_target("null", NULL), load_workload("grey", NULL)
    first, second = keys(make_plan(null, grey, one, NULL)), keys(make_plan(null, grey, other, NULL))
    assert (first == second) == (one == other)
    assert keys(make_plan(null, grey, one, NULL)) == first
    assert len(set(first.values())) == len(first)


def test_records_are_json_and_hold_no_path() -> None:
    """A key must not depend on where a folder lies."""
    for stage in make_plan(load_target("mobile"), load_workload("mnist"), 0).stages:
        text = canonical_json(stage.record)
        assert json.loads(text) == stage.record
        assert str(ROOT) not in text


def test_the_second_target_reuses_the_first_ones_training() -> None:
    mobile, browser = (keys(make_plan(load_target(name), load_workload("mnist"), 0)) for name in ("mobile", "browser"))
    assert changed(mobile, browser) == {"quantize", "slim", "evaluate"}


def test_data_of_many_files_are_hashed_once_for_all_stages(tmp_path: Path) -> None:
    project = copy_project(tmp_path / "project")
    file = project / "workloads" / "grey.py"
    counting = "HASHED = []\n\n\ndef data_hashes():\n    HASHED.append(1)\n    return {'pictures': '0' * 64}\n"
    file.write_text(f"{file.read_text()}\n\n{counting}")
    workload = load_workload("grey", project)
    plan = make_plan(load_target("null", project), workload, 0, project)
    assert all(stage.record["files"]["pictures"] == "0" * 64 for stage in plan.stages)
    assert workload.module.HASHED == [1]


def test_a_workload_shares_nothing_with_another() -> None:
    lenet, dense = (keys(make_plan(load_target("mobile"), load_workload(name), 0)) for name in ("mnist", "mnist_dense"))
    assert changed(lenet, dense) == set(lenet)


KEYS_OF_COPY = """
import json
from pipeline.plan import make_plan
from pipeline.target import load_target
from pipeline.workload import load_workload
plan = make_plan(load_target("mobile"), load_workload("mnist"), 0)
print(json.dumps({stage.name: stage.key for stage in plan.stages}))
"""


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this package with small files for its data."""
    folder = tmp_path_factory.mktemp("package")
    shutil.copytree(ROOT / "pipeline", folder / "pipeline", ignore=shutil.ignore_patterns("__pycache__", "*.xz"))
    shutil.copytree(ROOT / "targets", folder / "targets")
    for path in (ROOT / "pipeline" / "workloads" / "data").glob("*.xz"):
        (folder / "pipeline" / "workloads" / "data" / path.name).write_bytes(path.name.encode())
    return folder


def keys_of_copy(package: Path) -> dict[str, str]:
    done = subprocess.run(
        [sys.executable, "-c", KEYS_OF_COPY],
        cwd=package,
        env={**os.environ, "PYTHONPATH": str(package), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("errors.py", set()),
        ("lookup.py", set()),
        ("files.py", set()),
        ("target.py", set()),
        ("toml_files.py", set()),
        ("verdict.py", set()),
        ("store.py", set()),
        ("calibration.py", {"quantize", "slim", "baseline", "evaluate", "evaluate_baseline"}),
        ("verify.py", {"quantize", "slim", "baseline", "evaluate", "evaluate_baseline"}),
        ("evaluate.py", {"evaluate", "evaluate_baseline"}),
        ("steps/prune.py", {"prune", "quantize", "slim", "evaluate"}),
        ("steps/_fit.py", {"train", "prune", "quantize", "slim", "baseline", "evaluate", "evaluate_baseline"}),
        (
            "workloads/mnist_data.py",
            {"train", "prune", "quantize", "slim", "baseline", "evaluate", "evaluate_baseline"},
        ),
        ("workloads/mnist_dense.py", set()),
    ],
)
def test_source_of_this_package_counts_where_it_computes(package: Path, file: str, expected: set[str]) -> None:
    """Better wording retrains nothing; another computation does."""
    before, path = keys_of_copy(package), package / "pipeline" / file
    text = path.read_text()
    path.write_text(text.replace(".", ". ", 1) if "." in text.partition('"""')[2] else text + "\n# another\n")
    assert path.read_text() != text
    try:
        assert changed(before, keys_of_copy(package)) == expected
    finally:
        path.write_text(text)


def test_what_a_file_was_held_against_counts_for_every_step_that_gives_one() -> None:
    plan = make_plan(load_target("null", NULL), load_workload("grey", NULL), 0, NULL)
    held = {stage.name for stage in plan.stages if "pipeline/verify.py" in stage.record["source"]}
    assert held == {"null_quantize", "baseline"}


def mobile() -> Plan:
    return make_plan(load_target("mobile"), load_workload("mnist"), 0)


@pytest.mark.parametrize(
    ("step", "names"),
    [("train", ["train"]), ("prune", ["train", "prune"]), ("quantize", ["train", "prune", "quantize"])],
)
def test_up_to_a_step(step: str, names: list[str]) -> None:
    part = mobile().up_to(step)
    assert [stage.name for stage in part.stages] == names
    assert part.final == step
    assert keys(part) == {name: keys(mobile())[name] for name in names}


@pytest.mark.parametrize(
    ("line", "final"),
    [
        ("", "slim"),  # it has a budget of size
        ("slim = false", "null_quantize"),
        ("size", "null_quantize"),
        ("slim = true", "slim"),
    ],
)
def test_a_target_with_a_budget_of_size_is_slimmed_unless_it_says_no(tmp_path: Path, line: str, final: str) -> None:
    root = copy_project(tmp_path / "project")
    replace(TARGET, "slim = false\n", f"{line}\n" if line.startswith("slim") else "")(root)
    if line in ("size", "slim = true"):
        replace(TARGET, "size_bytes = 20_000\n", "")(root)
    plan = plan_of(root)
    assert plan.final == final
    assert [stage.follows for stage in plan.stages if stage.name == "evaluate"] == [final]
    if final == "slim":
        assert next(stage for stage in plan.stages if stage.name == "slim").config.runner == "null"


def test_a_slim_step_of_its_own_stands_where_the_recipe_puts_it(tmp_path: Path) -> None:
    root = copy_project(tmp_path / "project")
    replace(TARGET, "slim = false\n", "")(root)
    path = root / TARGET
    path.write_text(path.read_text() + '\n[[recipe]]\nstep = "slim"\nkeep_names = true\n')
    plan = plan_of(root)
    assert [stage.name for stage in plan.stages].count("slim") == 1
    assert next(stage for stage in plan.stages if stage.name == "slim").config.keep_names


def with_steps(root: Path, *steps: str) -> None:
    path = root / TARGET
    path.write_text(path.read_text() + "".join(f'\n[[recipe]]\nstep = "{step}"\n' for step in steps))


def test_metadata_stay_the_last_step_where_slim_is_added(tmp_path: Path) -> None:
    root = copy_project(tmp_path / "project")
    replace(TARGET, "slim = false\n", "")(root)
    with_steps(root, "metadata")
    plan = plan_of(root)
    follows = {stage.name: stage.follows for stage in plan.stages}
    assert (follows["slim"], follows["metadata"], follows["evaluate"]) == ("null_quantize", "slim", "metadata")
    assert plan.final == "metadata"
    ran = [stage.record["step"] for stage in plan.recipe_only().stages]
    assert [entry["step"] for entry in whole_recipe(load_target("null", root))] == ran


@pytest.mark.parametrize("after", ["slim", "metadata"])
def test_nothing_comes_after_metadata(tmp_path: Path, after: str) -> None:
    root = copy_project(tmp_path / "project")
    with_steps(root, "metadata", after)
    with pytest.raises(BadTarget, match=r"recipe\[4\]: nothing comes after 'metadata'"):
        plan_of(root)


def test_metadata_need_a_file(tmp_path: Path) -> None:
    root = copy_project(tmp_path / "project")
    replace(TARGET, '[[recipe]]\nstep = "null_quantize"\n', "")(root)
    replace(TARGET, "slim = false\n", "")(root)
    with_steps(root, "metadata")
    with pytest.raises(BadTarget, match="'metadata' cannot stand here"):
        plan_of(root)


def test_recipe_only_ends_with_the_file() -> None:
    part = mobile().recipe_only()
    assert [stage.name for stage in part.stages] == ["train", "prune", "quantize", "slim"]
    assert part.final == "slim"


@pytest.mark.parametrize("step", ["cluster", "evaluate", "baseline"])
def test_up_to_a_step_that_the_recipe_does_not_have(step: str) -> None:
    with pytest.raises(RequestError) as caught:
        mobile().up_to(step)
    assert step in caught.value.message
    assert caught.value.expected == "one of train, prune, quantize, slim"
    assert caught.value.exit_code == EXIT_REQUEST


def test_a_step_may_come_twice(tmp_path: Path) -> None:
    root = copy_project(tmp_path / "project")
    replace(TARGET, PRUNE, f"{PRUNE}\n\n[[recipe]]\n{PRUNE}\nfinal_sparsity = 0.8")(root)
    plan = plan_of(root)
    assert [stage.name for stage in plan.stages][:4] == ["null_train", "null_prune", "null_prune_2", "null_quantize"]
    assert [stage.follows for stage in plan.stages][:4] == [None, "null_train", "null_prune", "null_prune_2"]
    assert plan.up_to("null_prune").final == "null_prune_2"
    assert len(set(keys(plan).values())) == len(plan.stages)


@pytest.mark.parametrize("name", ["baseline", "evaluate", "evaluate_baseline", "null_prune_2"])
def test_a_step_of_any_name_gets_a_stage_of_its_own(tmp_path: Path, name: str) -> None:
    root = copy_project(tmp_path / "project")
    shutil.copy(root / "steps" / "null_prune.py", root / "steps" / f"{name}.py")
    replace(TARGET, PRUNE, f'{PRUNE}\n\n[[recipe]]\n{PRUNE}\n\n[[recipe]]\nstep = "{name}"')(root)
    plan = plan_of(root)
    assert len(keys(plan)) == len(plan.stages) == 8
    assert [stage.follows for stage in plan.stages][:5] == [None, *[stage.name for stage in plan.stages][:4]]
    assert plan.up_to(name).stages == plan.stages[:4]
    assert plan.recipe_only().stages == plan.stages[:5]


LOAD = """
from pathlib import Path
from pydantic import BaseModel
CONSUMES, PRODUCES, LIBRARIES = None, "keras", ()
class Config(BaseModel):
    path: Path
    note: str = ""
def run(source, workload, config, out, report):
    return {}
"""


def loading(root: Path, path: str) -> dict[str, str]:
    """Return the keys of the project's plan when its recipe begins with a step that is given a path."""
    (root / "steps" / "null_load.py").write_text(LOAD)
    replace(TARGET, 'step = "null_train"', f'step = "null_load"\npath = "{path}"')(root)
    return keys(plan_of(root))


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_file_that_the_recipe_names_counts_by_its_content(tmp_path: Path, kind: str) -> None:
    found = []
    for name, content in (("one", b"1"), ("same", b"1"), ("other", b"2")):
        root, given = copy_project(tmp_path / name), tmp_path / f"{name}.model"
        if kind == "folder":
            given.mkdir()
            (given / "part").write_bytes(b"part")
        (given / "weights" if kind == "folder" else given).write_bytes(content)
        found.append(loading(root, str(given)))
    assert changed(found[0], found[1]) == set(), "another path alone"
    assert changed(found[0], found[2]) == set(found[0]), "another content"


def test_in_a_folder_that_the_recipe_names_names_count_too(tmp_path: Path) -> None:
    found = []
    for name in ("a", "b"):
        (tmp_path / "models" / name).mkdir(parents=True)
        (tmp_path / "models" / name / f"{name}.bin").write_bytes(b"1")
        found.append(loading(copy_project(tmp_path / name), str(tmp_path / "models" / name)))
    assert changed(*found) == set(found[0])


def test_a_file_that_the_recipe_names_and_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        loading(copy_project(tmp_path / "project"), str(tmp_path / "none.h5"))
    assert "none.h5" in caught.value.message
    assert caught.value.exit_code == EXIT_REQUEST


@pytest.mark.parametrize("in_subfolder", [False, True])
def test_paths_in_a_recipe_start_at_the_projects_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_subfolder: bool
) -> None:
    root = copy_project(tmp_path / "project")
    (root / "net.h5").write_bytes(b"1")
    monkeypatch.chdir(root / "data" if in_subfolder else root)
    replace(TARGET, 'step = "null_train"', 'step = "load"\npath = "net.h5"')(root)
    first = plan_of(root).stages[0]
    assert first.config.path == root / "net.h5"
    assert first.record["files"]["config.path"] == hashlib.sha256(b"1").hexdigest()
    assert str(root) not in canonical_json(first.record)


def test_a_path_that_leads_nowhere_is_refused(tmp_path: Path) -> None:
    root = copy_project(tmp_path / "project")
    replace(TARGET, 'step = "null_train"', 'step = "load"\npath = "net.h5"')(root)
    with pytest.raises(BadTarget) as caught:
        plan_of(root)
    assert "recipe[0].path" in caught.value.message
    assert str(root / "net.h5") in caught.value.expected


def test_the_baseline_is_the_first_model_that_knows_the_workload(tmp_path: Path) -> None:
    root = copy_project(tmp_path / "project")
    text = (root / "steps" / "null_prune.py").read_text()
    (root / "steps" / "null_transfer.py").write_text(text + "\nGIVES_BASELINE = True\n")
    replace(TARGET, PRUNE, f'step = "null_transfer"\n\n[[recipe]]\n{PRUNE}')(root)
    follows = {stage.name: stage.follows for stage in plan_of(root).stages}
    assert (follows["null_prune"], follows["baseline"]) == ("null_transfer", "null_transfer")


def test_weights_to_begin_with_count_by_their_content(tmp_path: Path) -> None:
    recipe = '[[recipe]]\nstep = "train"\nweights = "WEIGHTS"\n\n[[recipe]]\nstep = "quantize"\n'
    (tmp_path / "targets").mkdir()

    def key(weights: str) -> str:
        text = 'description = "any"\n\n' + recipe.replace("WEIGHTS", weights)
        (tmp_path / "targets" / "own.toml").write_text(text, encoding="utf-8")
        return keys(make_plan(load_target("own", tmp_path), load_workload("mnist"), 0, tmp_path))["train"]

    (tmp_path / "a.h5").write_bytes(b"one")
    (tmp_path / "b.h5").write_bytes(b"one")
    (tmp_path / "c.h5").write_bytes(b"two")
    assert key("a.h5") == key("b.h5") != key("c.h5")
    with pytest.raises(BadTarget, match=r"recipe\[0\]\.weights"):
        key("absent.h5")
