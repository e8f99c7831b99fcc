"""`invoke compare` on the numpy-only project: what is compared, left out, chosen, written and resumed."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import signal
from typing import Any

import pytest

from tests.null.cli import Project, finish, wait_for

COMPARE = ("compare", "--target=null", "--workload=grey")
NAMES = "--techniques=int8,pruned,target"
TECHNIQUES = """
[technique.float32]
description = "plain"
float_io = true
recipe = [{ step = "null_quantize", scheme = "float32" }]

[technique.int8]
description = "full-integer"
against = "float32"
recipe = [{ step = "null_quantize", scheme = "int8" }]

[technique.pruned]
description = "zeros first"
against = "int8"
recipe = [{ step = "null_prune", final_sparsity = 0.8 }, { step = "null_quantize", scheme = "int8" }]
"""


@pytest.fixture
def comparing(project: Project) -> Project:
    """A project with techniques that need no TensorFlow."""
    project.add("techniques.toml", TECHNIQUES)
    return project


def compared(project: Project, *arguments: str, **options: Any) -> dict[str, Any]:
    return project.run(*COMPARE, "--json", *(arguments or (NAMES,)), **options).json("compare")


def test_it_writes_what_it_prints_and_every_number_is_of_the_file_beside_it(comparing: Project) -> None:
    result = comparing.run(*COMPARE, "--json", NAMES)
    document = result.json("compare")
    assert result.stdout == comparing.artifact(name="compare/compare.json").read_text()
    assert [row["name"] for row in document["candidates"]] == ["float32", "int8", "pruned", "target"]
    for row in document["candidates"]:
        content = (comparing.root / row["file"]).read_bytes()
        assert (row["size_bytes"], row["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    rows = list(csv.DictReader(io.StringIO(comparing.artifact(name="compare/compare.csv").read_text())))
    assert [row["technique"] for row in rows] == ["float32", "int8", "pruned", "target"]
    assert [int(row["size_bytes"]) for row in rows] == [row["size_bytes"] for row in document["candidates"]]
    assert comparing.artifact(name="compare/compare.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in comparing.artifact(name="compare/compare.svg").read_text()


def test_the_choice_fits_the_target_and_is_judged_on_the_test_split(comparing: Project) -> None:
    document = compared(comparing)
    rows = {row["name"]: row for row in document["candidates"]}
    assert rows["float32"]["fits_target"] is False
    assert "number formats" in rows["float32"]["not_chosen"]
    assert document["choice"] == "int8", "all others are equal, so the first of them"
    assert document["verdict"] == "pass"
    accuracy = next(v for v in document["choice_verdicts"] if v["metric"] == "accuracy_min")
    assert accuracy["measured"] == rows["int8"]["test"]["accuracy"]
    assert rows["int8"]["stages"]["null_train"] == rows["pruned"]["stages"]["null_train"], "one training for all"
    assert rows["pruned"]["against"] == "int8"
    assert any("no gain over int8" in reason for reason in rows["pruned"]["reasons"])


def test_a_person_reads_table_reasons_and_recipe(comparing: Project) -> None:
    shown = comparing.run(*COMPARE, NAMES)
    assert "choice for null: int8" in shown.stdout
    assert "no gain over int8" in shown.stdout
    assert '[[recipe]]\nstep = "null_quantize"\nscheme = "int8"' in shown.stdout
    assert "to make:" in shown.stderr.splitlines()[0]
    assert "time unknown" in shown.stderr.splitlines()[0]
    again = comparing.run(*COMPARE, NAMES)
    assert "all of them in the store" in again.stderr.splitlines()[0]


def test_where_nothing_fits_the_exit_code_says_so(comparing: Project) -> None:
    comparing.budget(size_bytes=100)
    shown = comparing.run(*COMPARE, NAMES, expect=5)
    assert "no technique fits this target" in shown.stdout
    assert "int8: it fails size_bytes" in shown.stdout
    assert compared(comparing, expect=5)["choice"] is None


BROKEN = {
    # name: (recipe, code, a part of what is said)
    "unknown_step": ('[{ step = "null_quantise" }]', "unknown_name", "null_quantise"),
    "bad_value": ('[{ step = "null_quantize", scheme = "int9" }]', "bad_target", "scheme"),
    "no_file": ('[{ step = "null_prune" }]', "bad_target", "does not end with a .tflite"),
    "lost_zeros": (
        '[{ step = "null_prune", promise = 0.9 }, { step = "null_quantize" }]',
        "step_failed",
        "does not keep the zeros",
    ),
    "crashes": ('[{ step = "crashes" }, { step = "null_quantize" }]', "step_failed", "the step ran is gone"),
    "lacks_library": ('[{ step = "lacks_library" }]', "environment_unsuited", "no-such-distribution"),
    "no_model": (
        '[{ step = "null_prune" }, { step = "no_model" }]',
        "step_failed",
        "gave no model.tflite that can be used",
    ),
}
CRASHES = """
import os
from pydantic import BaseModel
CONSUMES, PRODUCES, LIBRARIES = "keras", "keras", ()
class Config(BaseModel):
    pass
def run(source, workload, config, out, report):
    os._exit(9)
"""
NO_MODEL = """
from pydantic import BaseModel
CONSUMES, PRODUCES, LIBRARIES = "keras", "tflite", ()
class Config(BaseModel):
    pass
def run(source, workload, config, out, report):
    (out / "model.tflite").write_bytes(b"not a model")
    return {"promises": {"input_dtype": "int8", "output_dtype": "int8"}}
"""


def test_what_cannot_be_made_is_left_out_by_name_and_the_rest_goes_on(comparing: Project) -> None:
    tables = "".join(
        f'\n[technique.{name}]\ndescription = "broken"\nagainst = "int8"\nrecipe = {recipe}\n'
        for name, (recipe, _, _) in BROKEN.items()
    )
    comparing.add("techniques.toml", TECHNIQUES + tables)
    comparing.add("steps/crashes.py", CRASHES)
    comparing.add("steps/no_model.py", NO_MODEL)
    lacking = NO_MODEL.replace('"tflite", ()', '"tflite", ("no-such-distribution",)')
    comparing.add("steps/lacks_library.py", lacking)
    document = compared(comparing, f"--techniques={','.join(BROKEN)},pruned")
    assert [row["name"] for row in document["candidates"]] == ["float32", "int8", "pruned"]
    left_out = {exclusion["name"]: exclusion for exclusion in document["excluded"]}
    assert set(left_out) == set(BROKEN)
    for name, (_, code, part) in BROKEN.items():
        assert left_out[name]["code"] == code, left_out[name]
        assert part in left_out[name]["message"] + left_out[name]["received"]
    shown = comparing.run(*COMPARE, "--techniques=crashes,pruned").stdout
    assert "left out: the process in which the step ran is gone" in shown


def test_without_the_reference_nothing_compares(comparing: Project) -> None:
    comparing.edit(
        "techniques.toml",
        '[{ step = "null_quantize", scheme = "float32" }]',
        '[{ step = "null_quantize", shceme = 1 }]',
    )
    said = comparing.run(*COMPARE, NAMES, expect=2).stderr
    assert "shceme" in said
    assert "techniques.toml" in said


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (("--techniques=in8",), "did you mean 'int8'?"),
        (("--techniques=int8", "--seed=abc"), "--seed"),
        (("--techniques=,",), "unknown technique ''"),
    ],
)
def test_requests_that_cannot_be_met(comparing: Project, arguments: tuple[str, ...], part: str) -> None:
    assert part in comparing.run(*COMPARE, *arguments, expect=2).stderr


def test_a_mistake_in_the_projects_techniques_is_named(comparing: Project) -> None:
    comparing.edit("techniques.toml", 'description = "plain"', 'description = "plain"\nagianst = "int8"')
    said = comparing.run(*COMPARE, NAMES, expect=2).stderr
    assert "unknown key technique.float32.agianst" in said
    assert "did you mean 'against'?" in said


def test_an_interrupted_comparison_goes_on_from_the_store(comparing: Project) -> None:
    comparing.add("steps/slow.py", (comparing.root / "steps" / "null_prune.py").read_text() + SLOW)
    slow = '\n[technique.slow]\ndescription = "slow"\nrecipe = [{ step = "slow" }, { step = "null_quantize" }]\n'
    comparing.add("techniques.toml", TECHNIQUES + slow)
    process = comparing.start(*COMPARE, "--techniques=pruned,slow")
    wait_for(lambda: (comparing.root / "started").exists(), "the slow step never started")
    os.killpg(process.pid, signal.SIGINT)
    finish(process, expect=130)
    comparing.wait_until_gone()
    (comparing.root / "go").touch()
    shown = comparing.run(*COMPARE, "--techniques=pruned,slow").stderr
    assert "null_train: made" not in shown
    assert "slow: made" in shown


SLOW = """

def run_slowly(source, workload, config, out, report, _run=run):
    import time
    from pathlib import Path

    Path("started").touch()
    while not Path("go").exists():
        time.sleep(0.01)
    return _run(source, workload, config, out, report)


run = run_slowly
"""


def test_quick_changes_what_the_file_says(comparing: Project) -> None:
    comparing.add("techniques.toml", TECHNIQUES + "\n[quick]\nnull_train = { epochs = 1 }\n")
    slow, quick = (compared(comparing, NAMES, *more) for more in ((), ("--quick",)))
    recipes = [document["candidates"][1]["recipe"] for document in (slow, quick)]
    assert recipes[0][0] == {"step": "null_train"}
    assert recipes[1][0] == {"step": "null_train", "epochs": 1}
    assert (slow["quick"], quick["quick"]) == (False, True)


def test_dry_run_makes_nothing_and_lists_every_stage_once(comparing: Project) -> None:
    plan = comparing.run(*COMPARE, NAMES, "--dry-run", "--json").json("plan")
    names = [stage["name"] for stage in plan["stages"]]
    assert names[0] == "float32: null_train"
    assert sum(name.endswith("null_train") for name in names) == 1
    assert comparing.entries() == set()


def test_scenarios_add_corrupted_pictures(comparing: Project) -> None:
    document = compared(comparing, NAMES, "--scenarios")
    for row in document["candidates"]:
        assert len(row["corrupted"]) == 8
        assert all(len(accuracies) == 5 for accuracies in row["corrupted"].values())
        assert row["cold_start"] is None, "the null runner measures no time"
    assert "corrupted" in comparing.run(*COMPARE, NAMES, "--scenarios").stdout


def test_a_finished_comparison_is_kept_by_gc_and_removed_by_clean(comparing: Project) -> None:
    document = compared(comparing)
    keys = {key for row in document["candidates"] for key in row["stages"].values()}
    comparing.run("store.gc")
    assert keys <= comparing.entries()
    removed = comparing.run("clean", "--json").json("clean")["removed"]
    assert "artifacts/grey/null/compare" in removed
    assert not comparing.artifact(name="compare").exists()
    comparing.run("store.gc")
    assert not keys & comparing.entries()


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ('[technique."../escape"]', "technique"),
        ('[technique."a/b"]', "technique"),
        ("[technique.target]", "'target'"),
        ("[technique.baseline]", "'baseline'"),
        ('[technique.other]\nagainst = "itn8"', "did you mean 'int8'?"),
        ("a = " + "[" * 5000, "techniques.toml"),
    ],
)
def test_techniques_that_cannot_be(comparing: Project, text: str, part: str) -> None:
    rest = '\ndescription = "x"\nrecipe = [{ step = "null_quantize" }]\n' if text.startswith("[") else ""
    comparing.add("techniques.toml", TECHNIQUES + text + rest)
    said = comparing.run(*COMPARE, NAMES, expect=2).stderr
    assert part in said
    assert "Traceback" not in said
    assert not (comparing.root / "artifacts").exists() or not comparing.entries()


def test_a_step_that_is_no_name_is_left_out(comparing: Project) -> None:
    odd = '\n[technique.odd]\ndescription = "x"\nrecipe = [{ step = ["x"] }]\n'
    comparing.add("techniques.toml", TECHNIQUES + odd)
    (excluded,) = compared(comparing, "--techniques=odd,pruned")["excluded"]
    assert excluded["name"] == "odd"


def test_files_of_an_earlier_comparison_go(comparing: Project) -> None:
    compared(comparing)
    compared(comparing, "--techniques=int8")
    assert {path.name for path in comparing.artifact(name="compare").glob("*.tflite")} == {
        "float32.tflite",
        "int8.tflite",
    }


def test_quick_never_lengthens(comparing: Project) -> None:
    comparing.add("techniques.toml", TECHNIQUES + "\n[quick]\nnull_train = { epochs = 3 }\n")
    comparing.configure("null_train", epochs=2)
    assert compared(comparing, NAMES, "--quick")["candidates"][0]["recipe"][0]["epochs"] == 2
