"""`invoke new` and `--data`: a workload and a target for data that somebody brings."""

from __future__ import annotations

import json
import os
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest

from pipeline.target import Target
from tests.null.cli import DATA as DATA_FOLDER
from tests.null.cli import Project, keys

NEW = ("new", "--name=flowers", "--target=null", "--data=data/pictures.npz")
DATA = ("build", "--target=null", "--data=data/pictures.npz", "--json")


def pictures(project: Project, path: str = "data/pictures.npz", count: int = 200) -> Path:
    """Write pictures of ten classes, as many for validation and test as the null project's files take."""
    file = project.root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for split, size in (("train", count), ("val", 50), ("test", 100)):
        random = np.random.default_rng(size)
        arrays[f"x_{split}"] = random.integers(0, 256, (size, 28, 28, 1), dtype=np.uint8)
        arrays[f"y_{split}"] = np.arange(size) % 10
    np.savez(file, **arrays)
    return file


@pytest.fixture(autouse=True)
def _data(project: Project) -> None:
    pictures(project)


def written(project: Project) -> set[str]:
    return {str(path.relative_to(project.root)) for path in project.root.rglob("*") if path.is_file()} - {
        str(path.relative_to(project.root)) for path in project.root.rglob("__pycache__/*")
    }


def test_new_writes_a_workload_and_a_target_that_build(project: Project) -> None:
    before = written(project)
    document = project.run(*NEW, "--json").json("new")
    assert written(project) - before == {"workloads/flowers.py", "targets/flowers.toml"}
    assert (document["kind"], document["task"], document["input_shape"]) == ("npz", "classification", [28, 28, 1])
    assert document["labels"] == [str(number) for number in range(10)]
    assert document["model"] == "resnet8"
    command = document["next"].split()
    assert command == ["invoke", "build", "--target=flowers", "--workload=flowers"]
    built = project.run(*command[1:], "--json").json("build")
    assert (built["target"], built["workload"], built["workload_file"]) == ("flowers", "flowers", None)
    metrics = {verdict["metric"]: verdict["limit"] for verdict in built["verdicts"]}
    assert metrics == {"size_bytes": 1_000_000, "accuracy_drop_max": 0.02}


def test_new_is_told_to_a_person_with_the_next_command(project: Project) -> None:
    told = project.run(*NEW).stdout
    assert "workloads/flowers.py" in told
    assert told.rstrip().endswith("next: invoke build --target=flowers --workload=flowers")


def test_what_is_written_can_be_moved_with_the_project(project: Project, tmp_path: Path) -> None:
    project.run(*NEW)
    plan = project.run("build", "--target=flowers", "--workload=flowers", "--dry-run", "--json").json("plan")
    moved = project.copy(tmp_path / "moved")
    again = moved.run("build", "--target=flowers", "--workload=flowers", "--dry-run", "--json").json("plan")
    assert keys(again) == keys(plan)


def test_the_target_of_a_shipped_one_suits_new_data(project: Project) -> None:
    weights = project.add("data/some.weights.h5", b"x")
    project.run("new", "--name=phone", "--data=data/pictures.npz", f"--weights={weights}")
    text = (project.root / "targets" / "phone.toml").read_text()
    target = Target.model_validate(tomllib.loads(text))
    assert (target.runner, target.runner_without_device, target.input_dtype) == ("adb", "host", "int8")
    train, prune, quantize = target.recipe
    assert train["step"] == "train"
    assert train["weights"] == "data/some.weights.h5"
    assert prune["epochs"] * -(-200 // prune["batch_size"]) >= 40  # half of the steps, and at least 20, raise sparsity
    assert prune["final_sparsity"] < 0.85
    assert quantize["agreement_min"] == 0.94  # three of 50
    assert quantize["calibration_samples"] == 160  # some of a class may be alike
    assert target.budgets.accuracy_min is None
    assert target.budgets.accuracy_drop_max == 0.02
    assert all("#" in line for line in text.splitlines() if line.startswith(("size_bytes", "accuracy_drop_max")))
    assert "# accuracy_min" in text


def test_few_test_samples_have_room_in_the_budget(project: Project) -> None:
    samples = np.random.default_rng(0).random((200, 5)).astype(np.float32)
    np.savez(project.root / "data" / "few.npz", x=samples, y=np.arange(200) % 2)
    document = project.run("new", "--name=few", "--data=data/few.npz", "--json").json("new")
    target = Target.model_validate(tomllib.loads((project.root / "targets" / "few.toml").read_text()))
    assert document["model"] == "dense"
    assert 0.05 < (target.budgets.accuracy_drop_max or 0) < 0.2  # two of about 20
    assert [entry["step"] for entry in target.recipe] == ["train", "quantize"]


def test_a_regressions_budget_is_of_its_labels_scale(project: Project) -> None:
    random = np.random.default_rng(0)
    np.savez(project.root / "data" / "values.npz", x=random.random((300, 5)), y=random.normal(0, 40, 300))
    document = project.run("new", "--name=values", "--data=data/values.npz", "--json").json("new")
    text = (project.root / "targets" / "values.toml").read_text()
    budgets = Target.model_validate(tomllib.loads(text)).budgets
    assert document["task"] == "regression"
    assert budgets.mean_absolute_error_rise_max == pytest.approx(2.0, abs=0.5)  # 5% of a deviation of 40
    assert "# mean_absolute_error_max" in text
    assert "agreement_min" not in text


def test_a_device_of_the_base_target_goes_along(project: Project) -> None:
    project.add("devices.toml", '[ethos-u55]\nmemory_mode = "Shared_Sram"\n')
    project.run("new", "--name=npu", "--data=data/pictures.npz", "--target=ethos-u55")
    target = Target.model_validate(tomllib.loads((project.root / "targets" / "npu.toml").read_text()))
    assert target.device == {"accelerator": "ethos-u55-128"}  # what is about one desk stays out of it
    assert target.budgets.npu_operator_share_min == 1.0
    assert [entry["step"] for entry in target.recipe] == ["train", "quantize"]


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--name=grey",), "grey"),  # a workload has it
        (("--name=null",), "null"),  # a target has it
        (("--name=mobile",), "mobile"),
        (("--name=../up",), "../up"),
        (("--name=with space",), "with space"),
        (("--name=class",), "class"),
        (("--name=_hidden",), "_hidden"),
        (("--name=9lives",), "9lives"),
        (("--name=" + "a" * 65,), "a" * 65),
        (("--name=",), "no --name"),
        (("--data=data/none.npz",), "none.npz"),
        (("--data=data/empty",), "empty"),
        (("--data=data/broken.npz",), "broken.npz"),
        (("--target=nul",), "nul"),
        (("--model=none.keras",), "none.keras"),
        (("--model=trained.keras", "--weights=trained.keras"), "--weights"),
        (("--weights=none.h5",), "none.h5"),
    ],
)
def test_what_cannot_be_written_leaves_nothing(project: Project, flags: tuple[str, ...], named: str) -> None:
    (project.root / "data" / "empty").mkdir()
    project.add("data/broken.npz", b"PK\3\4 and no more")
    project.add("trained.keras", b"")
    before = written(project)
    given = {flag.partition("=")[0]: flag for flag in (*NEW, "--json", *flags)}
    result = project.run(*given.values(), expect=2)
    error = result.json("error")["error"]
    assert named in json.dumps(error)
    assert error["expected"]
    assert error["fix"]
    assert written(project) == before


def test_nothing_is_overwritten(project: Project) -> None:
    own = project.add("targets/flowers.toml", "# mine")
    before = written(project)
    project.run(*NEW, expect=2)
    assert own.read_text() == "# mine"
    assert written(project) == before


def test_one_file_that_cannot_be_written_takes_the_other_along(project: Project) -> None:
    dangling = project.root / "targets" / "flowers.toml"
    dangling.symlink_to("nowhere/else.toml")
    before = written(project)
    error = project.run(*NEW, "--json", expect=2).json("error")["error"]
    assert "flowers.toml" in error["received"]
    assert written(project) == before
    assert dangling.is_symlink()


@pytest.mark.parametrize("name", ['it\'s "quoted".npz', "naïve ☂ 🌷.npz", "line\nbreak.npz", "back\\slash.npz"])
def test_any_path_of_data_goes_into_both_files(project: Project, name: str) -> None:
    os.rename(project.root / "data" / "pictures.npz", project.root / "data" / name)
    weights = project.add(f"data/{name}.h5", b"x")
    project.run("new", "--name=odd", f"--data=data/{name}", f"--weights={weights}")
    recipe = tomllib.loads((project.root / "targets" / "odd.toml").read_text())["recipe"]
    assert recipe[0]["weights"] == f"data/{name}.h5"
    project.run("build", "--target=null", "--workload=odd", "--dry-run")


# ---------------------------------------------------------------- --data


def test_data_builds_without_a_written_file(project: Project) -> None:
    before = written(project)
    built = project.run(*DATA).json("build")
    # Without this machine's folders: the document goes to readers elsewhere.
    assert (built["workload"], built["workload_file"]) == ("pictures", "artifacts/workloads/pictures.py")
    assert {path for path in written(project) - before if not path.startswith("artifacts/")} == set()
    # The project's own target was written for whatever it is asked for: all its budgets hold.
    assert {verdict["metric"] for verdict in built["verdicts"]} >= {"accuracy_min", "memory_bytes"}


def test_the_made_up_workload_is_written_anew_only_where_it_differs(project: Project) -> None:
    first = project.run(*DATA).json("build")
    file = project.root / "artifacts" / "workloads" / "pictures.py"
    stamp = file.stat().st_mtime_ns
    second = project.run(*DATA).json("build")
    assert file.stat().st_mtime_ns == stamp
    assert {stage["state"] for stage in second["stages"]} == {"hit"}
    assert keys(first) == keys(second)
    pictures(project, count=240)
    third = project.run(*DATA).json("build")
    assert keys(third)["null_train"] != keys(first)["null_train"]


def test_a_shipped_target_gets_starting_points_for_data(project: Project) -> None:
    plan = project.run("build", "--data=data/pictures.npz", "--dry-run", "--json").json("plan")
    assert plan["workload"] == "pictures"
    assert [stage["name"] for stage in plan["stages"]][:3] == ["train", "prune", "quantize"]


def test_a_trained_model_takes_the_place_of_training(project: Project) -> None:
    project.add("trained.keras", b"x")
    plan = project.run("build", "--data=data/pictures.npz", "--model=trained.keras", "--dry-run", "--json").json("plan")
    assert [stage["name"] for stage in plan["stages"]][:2] == ["load", "quantize"]  # as it is: pruning is for who asks


def test_a_trained_model_has_to_do_better_than_a_guess(project: Project) -> None:
    """What was trained on other values, scaled otherwise, say, answers the data at random."""
    project.add("trained.keras", b"x")
    project.run("new", "--name=given", "--data=data/pictures.npz", "--model=trained.keras")
    target = Target.model_validate(tomllib.loads((project.root / "targets" / "given.toml").read_text()))
    assert target.budgets.accuracy_min == 0.2


def test_a_float_tflite_is_quantized_as_it_is(project: Project) -> None:
    shutil.copy(DATA_FOLDER / "tiny_float32.tflite", project.root / "float.tflite")
    flags = ("--data=data/pictures.npz", "--model=float.tflite")
    plan = project.run("build", *flags, "--dry-run", "--json").json("plan")
    assert [stage["name"] for stage in plan["stages"]][:2] == ["quantize_tflite", "slim"]
    project.run("new", "--name=given", *flags)
    recipe = tomllib.loads((project.root / "targets" / "given.toml").read_text())["recipe"]
    assert recipe == [
        {"step": "quantize_tflite", "path": "float.tflite", "calibration_samples": 160, "agreement_min": 0.94}
    ]


def test_a_network_with_options_is_written_as_code(project: Project) -> None:
    project.run(*NEW, "--model=mobilenet_v2:width=0.5,dropout=0.2")
    text = (project.root / "workloads" / "flowers.py").read_text()
    assert "from pipeline.zoo import mobilenet_v2\n" in text
    assert "return mobilenet_v2.build(INPUT_SHAPE, len(LABELS), width=0.5, dropout=0.2)\n" in text


def test_a_comparison_takes_data(project: Project) -> None:
    plan = project.run("compare", "--data=data/pictures.npz", "--techniques=int8", "--dry-run", "--json").json("plan")
    assert plan["workload"] == "pictures"


@pytest.mark.parametrize("task", ["train", "prune", "quantize", "convert", "build", "compare", "sensitivity"])
@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--data=data/pictures.npz", "--workload=grey"), "--workload"),
        (("--model=resnet8",), "--model"),
        (("--weights=data/pictures.npz", "--workload=grey"), "--weights"),
    ],
)
def test_flags_that_do_not_go_together(project: Project, task: str, flags: tuple[str, ...], named: str) -> None:
    error = project.run(task, *flags, "--json", expect=2).json("error")["error"]
    assert named in error["message"]
    assert not (project.root / "artifacts").exists()


def test_data_of_an_odd_name_gets_a_plain_one(project: Project) -> None:
    for name, plain in (("2024 tulips!.npz", "data_2024_tulips"), ("…npz.npz", "npz_95bc5a96"), ("☂.npz", "data_")):
        pictures(project, f"data/{name}")
        document = project.run("build", "--target=null", f"--data=data/{name}", "--dry-run", "--json").json("plan")
        assert document["workload"].startswith(plain), "a part of the hash keeps apart what lost its letters"


def test_a_function_of_the_users_own_counts_with_its_neighbours(project: Project) -> None:
    project.add("nets/net.py", "from sizes import SIZE\n\ndef make(input_shape, outputs):\n    return None\n")
    neighbour = project.add("nets/sizes.py", "SIZE = 1\n")
    command = (*DATA, "--model=nets/net.py:make", "--dry-run")
    first, second = project.run(*command).json("plan"), project.run(*command).json("plan")
    assert keys(first) == keys(second)
    neighbour.write_text("SIZE = 2\n")
    assert keys(project.run(*command).json("plan"))["null_train"] != keys(first)["null_train"]
