"""Targets: the shipped ones, and every mistake named by file and key before anything runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import EXIT_REQUEST, BadTarget, PipelineError, RequestError, UnknownName
from pipeline.learning_task import metric_of_budget
from pipeline.lookup import find_module
from pipeline.plan import make_plan
from pipeline.target import Budgets, Target, load_target, target_names
from pipeline.workload import load_workload
from tests.strategies import quick

SHIPPED = sorted(path.stem for path in (Path(__file__).parents[2] / "targets").glob("*.toml"))
GOOD = """
description = "a test's device"
runner = "host"
input_dtype = "int8"
output_dtype = "int8"
threads = 2

[limits]
seconds = 30.0

[budgets]
size_bytes = 460_000
accuracy_drop_max = 0.002
latency_p50_ms = { limit = 0.2, device_class = "phone" }

[[recipe]]
step = "train"

[[recipe]]
step = "prune"
final_sparsity = 0.8

[[recipe]]
step = "quantize"
scheme = "int8"
"""
TRAIN, PRUNE, QUANTIZE = (f'[[recipe]]\nstep = "{step}"\n' for step in ("train", "prune", "quantize"))
TOP = GOOD.partition("[[recipe]]")[0].replace("int8", "float32")


def load_and_plan(root: Path, content: str | bytes) -> Target:
    path = root / "targets" / "mine.toml"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    target = load_target("mine", root)
    make_plan(target, load_workload("mnist"), 0, root)
    return target


def refused(root: Path, content: str | bytes, kind: type[PipelineError]) -> PipelineError:
    """Return the error, which names the file and is the caller's to mend."""
    with pytest.raises(kind) as caught:
        load_and_plan(root, content)
    error = caught.value
    assert type(error) is kind
    assert str(root / "targets" / "mine.toml") in error.message
    assert error.received
    assert error.expected
    assert error.exit_code == EXIT_REQUEST
    return error


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_target_loads_and_plans(name: str) -> None:
    target = load_target(name)
    assert target.name == name
    assert target.path.name == f"{name}.toml"
    compressing = "distill" if name in ("microcontroller", "ethos-u55", "raspberry-pi") else "prune"
    assert [entry["step"] for entry in target.recipe] == ["train", compressing, "quantize"]
    assert make_plan(target, load_workload("mnist"), 0).final == "slim"


def test_shipped_targets_set_every_kind_of_budget() -> None:
    budgets = [load_target(name).budgets for name in SHIPPED]
    kinds = [kind for kind in Budgets.model_fields if metric_of_budget(kind) in (None, "accuracy")]
    assert [kind for kind in kinds if not any(getattr(one, kind) for one in budgets)] == []


def test_mobile_is_integer_and_browser_is_float() -> None:
    assert {load_target("mobile").input_dtype, load_target("mobile").output_dtype} == {"int8"}
    assert {load_target("browser").input_dtype, load_target("browser").output_dtype} == {"float32"}


def test_the_good_text_is_good(tmp_path: Path) -> None:
    target = load_and_plan(tmp_path, GOOD)
    assert (target.threads, target.limits.seconds, target.limits.resident_megabytes) == (2, 30.0, 2048)
    assert target.budgets.accuracy_min is None


def test_a_projects_own_target_wins_and_is_listed(tmp_path: Path) -> None:
    load_and_plan(tmp_path, GOOD)
    (tmp_path / "targets" / "mobile.toml").write_text(GOOD)
    assert load_target("mobile", tmp_path).description == "a test's device"
    assert target_names(tmp_path) == sorted({*SHIPPED, "mine"})


@pytest.mark.parametrize(
    ("content", "place"),
    [
        (GOOD + "threads = = 1\n", f"line {GOOD.count(chr(10)) + 1}, column 11"),
        (GOOD + "threads = 1\nthreads = 1\n", f"line {GOOD.count(chr(10)) + 2}"),
        (b'description = "caf\xe9"\n', "position 18"),
    ],
    ids=["syntax error", "key twice", "not UTF-8"],
)
def test_no_toml(tmp_path: Path, content: str | bytes, place: str) -> None:
    error = refused(tmp_path, content, BadTarget)
    assert "is not TOML" in error.message
    assert place in error.received
    assert "mine.toml" in error.fix


@pytest.mark.parametrize(
    ("old", "new", "key", "near"),
    [
        ("threads = 2", "treads = 2", "treads", "threads"),
        ("size_bytes = 460_000", "size_byte = 1", "budgets.size_byte", "size_bytes"),
        ("seconds = 30.0", "second = 1", "limits.second", "seconds"),
        ("limit = 0.2, ", "limit = 0.2, limt = 0.2, ", "budgets.latency_p50_ms.limt", "limit"),
        ("final_sparsity = 0.8", "finalsparsity = 0.8", "recipe[1].finalsparsity", "final_sparsity"),
        ('scheme = "int8"', 'shceme = "int8"', "recipe[2].shceme", "scheme"),
    ],
)
def test_unknown_key_names_the_nearest(tmp_path: Path, old: str, new: str, key: str, near: str) -> None:
    error = refused(tmp_path, GOOD.replace(old, new, 1), BadTarget)
    assert f"unknown key {key}" in error.message
    assert error.fix == f"did you mean {near!r}?"
    assert near in error.expected


def test_unknown_key_without_a_near_one_is_to_be_taken_out(tmp_path: Path) -> None:
    error = refused(tmp_path, GOOD.replace("threads = 2", "zzz = 2"), BadTarget)
    assert error.fix == "take zzz out of mine.toml"


@pytest.mark.parametrize(
    ("old", "new", "key"),
    [
        ("size_bytes = 460_000", "size_bytes = -1", "budgets.size_bytes"),
        ("size_bytes = 460_000", "size_bytes = 0", "budgets.size_bytes"),
        ("size_bytes = 460_000", "size_bytes = 0.5", "budgets.size_bytes"),
        ("accuracy_drop_max = 0.002", "accuracy_drop_max = 1.2", "budgets.accuracy_drop_max"),
        ("accuracy_drop_max = 0.002", "accuracy_drop_max = nan", "budgets.accuracy_drop_max"),
        ("accuracy_drop_max = 0.002", "accuracy_min = -0.1", "budgets.accuracy_min"),
        ("accuracy_drop_max = 0.002", "speedup_min = -2", "budgets.speedup_min"),
        ("accuracy_drop_max = 0.002", "memory_bytes = -5", "budgets.memory_bytes"),
        ("limit = 0.2", "limit = -0.2", "budgets.latency_p50_ms.limit"),
        ("limit = 0.2", "limit = inf", "budgets.latency_p50_ms.limit"),
        ('device_class = "phone"', 'device_class = ""', "budgets.latency_p50_ms.device_class"),
        ('{ limit = 0.2, device_class = "phone" }', "0.2", "budgets.latency_p50_ms"),
        ("threads = 2", 'threads = "many"', "threads"),
        ("threads = 2", "threads = 0", "threads"),
        ("threads = 2", "expected_seconds = -1", "expected_seconds"),
        ("seconds = 30.0", "seconds = 0", "limits.seconds"),
        ('input_dtype = "int8"', 'input_dtype = "int4"', "input_dtype"),
        ('description = "a test\'s device"', 'description = ""', "description"),
        ('description = "a test\'s device"', "description = 3", "description"),
        ("final_sparsity = 0.8", "final_sparsity = 1.5", "recipe[1].final_sparsity"),
        ("final_sparsity = 0.8", 'final_sparsity = "much"', "recipe[1].final_sparsity"),
        ("final_sparsity = 0.8", "skip_layers = [1]", "recipe[1].skip_layers[0]"),
        ("final_sparsity = 0.8", "final_sparsity = 0.2", "recipe[1]"),  # below the initial one
        ('scheme = "int8"', 'scheme = "int4"', "recipe[2].scheme"),
        ('scheme = "int8"', "calibration_samples = 1", "recipe[2].calibration_samples"),
        ('scheme = "int8"', 'scheme = "float16"', "recipe[2]"),  # does not go with int8 input
        ('scheme = "int8"', 'scheme = "int16x8"', "recipe[2]"),
        ("threads = 2", "baseline = { step = 'quantize', scheme = 'int' }", "baseline.scheme"),
        ("threads = 2", "baseline = { step = 'prune' }", "baseline"),  # gives no .tflite
    ],
)
def test_impossible_value_is_named(tmp_path: Path, old: str, new: str, key: str) -> None:
    assert old in GOOD
    error = refused(tmp_path, GOOD.replace(old, new, 1), BadTarget)
    assert re.search(rf"mine\.toml: {re.escape(key)}[: ]", error.message)
    assert error.fix


def test_sparsity_above_one_says_what_was_expected(tmp_path: Path) -> None:
    error = refused(tmp_path, GOOD.replace("final_sparsity = 0.8", "final_sparsity = 1.5"), BadTarget)
    assert error.received == "1.5"
    assert "less than 1" in error.expected
    assert error.fix == "correct recipe[1].final_sparsity in mine.toml"


def test_dtype_that_does_not_go_with_the_scheme_says_which_do(tmp_path: Path) -> None:
    error = refused(tmp_path, GOOD.replace('scheme = "int8"', 'scheme = "float16"'), BadTarget)
    assert "input_dtype 'int8' does not go with scheme 'float16'" in error.expected
    assert "float32" in error.expected


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (GOOD.replace('description = "a test\'s device"', ""), "description"),
        (GOOD.partition("[[recipe]]")[0], "recipe"),
        (GOOD.replace(', device_class = "phone"', ""), "budgets.latency_p50_ms.device_class"),
        (GOOD.replace('step = "prune"', ""), "recipe[1].step"),
        (GOOD.replace('step = "prune"', "step = 3"), "recipe[1].step"),
        ("baseline = { scheme = 'float32' }" + GOOD, "baseline.step"),
    ],
)
def test_missing_key_is_named(tmp_path: Path, content: str, key: str) -> None:
    error = refused(tmp_path, content, BadTarget)
    assert f"{key} is missing" in error.message


@pytest.mark.parametrize("recipe", ["recipe = []", "recipe = 'train'", "recipe = ['train']", "recipe = {step = 'x'}"])
def test_recipe_of_the_wrong_form(tmp_path: Path, recipe: str) -> None:
    assert "recipe" in refused(tmp_path, f"{recipe}\n{TOP}", BadTarget).message


@pytest.mark.parametrize(
    ("recipe", "place", "expected"),
    [
        (TRAIN + QUANTIZE + PRUNE, "recipe[2]", "'prune' follows a step that gives keras"),
        (PRUNE + TRAIN + QUANTIZE, "recipe[0]", "'prune' follows a step that gives keras"),
        (QUANTIZE, "recipe[0]", "'quantize' follows a step that gives keras"),
        (TRAIN + TRAIN + QUANTIZE, "recipe[1]", "'train' comes first"),
        (TRAIN + QUANTIZE + QUANTIZE, "recipe[2]", "'quantize' follows a step that gives keras"),
        (TRAIN + PRUNE, "recipe", "a last step that gives tflite"),
        (TRAIN, "recipe", "a last step that gives tflite"),
    ],
    ids=["quantize before prune", "prune first", "quantize alone", "two trains", "quantize twice", "no file", "train"],
)
def test_order_that_cannot_work(tmp_path: Path, recipe: str, place: str, expected: str) -> None:
    target = TOP + recipe.replace('"quantize"', '"quantize"\nscheme = "float32"')
    error = refused(tmp_path, target, BadTarget)
    assert place in error.message
    assert expected in error.expected
    assert error.fix


def test_quantize_before_prune_says_how_to_mend_it(tmp_path: Path) -> None:
    recipe = TRAIN + QUANTIZE + 'scheme = "float32"\n' + PRUNE
    assert refused(tmp_path, TOP + recipe, BadTarget).fix == "move 'prune' before 'quantize'"


@pytest.mark.parametrize(
    ("old", "new", "place", "near"),
    [
        ('"prune"', '"prun"', "recipe[1].step", "prune"),
        ('"prune"', '"_fit"', "recipe[1].step", "low_bit"),  # there is such a file, but it is no step
        ('"prune"', '"../steps/prune"', "recipe[1].step", "prune"),
        ('runner = "host"', 'runner = "hosts"', "runner", "host"),
        ('runner = "host"', 'runner = "zzz"', "runner", None),
    ],
)
def test_unknown_name_in_the_file(tmp_path: Path, old: str, new: str, place: str, near: str | None) -> None:
    error = refused(tmp_path, GOOD.replace(old, new), UnknownName)
    assert error.message.endswith(place)
    assert error.fix == (f"did you mean {near!r}?" if near else "use one of these names")


@pytest.mark.parametrize("wrong", ["mobil", "Mobile", "mobile.toml", "../targets/mobile", "targets/mobile"])
def test_unknown_target_suggests_the_nearest(tmp_path: Path, wrong: str) -> None:
    with pytest.raises(UnknownName) as caught:
        load_target(wrong, tmp_path)
    assert caught.value.fix == "did you mean 'mobile'? All of them: invoke targets"
    assert caught.value.expected == f"one of {', '.join(SHIPPED)}"
    assert caught.value.exit_code == EXIT_REQUEST


@pytest.mark.parametrize(("wrong", "near"), [("mnis", "mnist"), ("mnist-dense", "mnist_dense"), ("mnist_data", None)])
def test_unknown_workload_suggests_the_nearest(tmp_path: Path, wrong: str, near: str | None) -> None:
    with pytest.raises(UnknownName) as caught:
        load_workload(wrong, tmp_path)
    assert near is None or caught.value.fix == f"did you mean {near!r}?"
    assert caught.value.expected == "one of mnist, mnist_dense"


@quick
@given(st.text())
def test_no_name_is_a_way_out_of_the_folder(name: str) -> None:
    if name in target_names():
        assert load_target(name).name == name
    else:
        with pytest.raises(UnknownName) as caught:
            load_target(name)
        assert caught.value.received == name


def test_a_step_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    (tmp_path / "steps").mkdir()
    path = tmp_path / "steps" / "broken.py"
    path.write_text("PRODUCES = 1 +\n")
    with pytest.raises(RequestError) as caught:
        find_module("steps", "broken", tmp_path, kind="step", marker="PRODUCES")
    assert str(path) in caught.value.message
    assert "SyntaxError" in caught.value.received


def test_a_file_in_another_encoding_hides_no_step(tmp_path: Path) -> None:
    (tmp_path / "steps").mkdir()
    (tmp_path / "steps" / "latin.py").write_bytes(b"# coding: latin-1\n# caf\xe9\nPRODUCES = 'keras'\n")
    assert find_module("steps", "latin", tmp_path, kind="step", marker="PRODUCES").PRODUCES == "keras"
    assert find_module("steps", "train", tmp_path, kind="step", marker="PRODUCES").PRODUCES == "keras"
