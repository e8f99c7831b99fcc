"""The tasks as functions: what a notebook or another program calls."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

from tests.null.cli import REPOSITORY, Project

BUILD = """
from pipeline import build
document = build("null", "grey")
assert type(document).__name__ == "BuildDocument"
"""


def python(project: Project, code: str, cwd: Path | None = None, **environment: str) -> str:
    """Run a program in the project's folder, which has no terminal; it must print nothing that it did not say."""
    # Tests before this one may have loaded TensorFlow here, which leaves its switch behind.
    inherited = {name: value for name, value in project.environment.items() if name != "TF_USE_LEGACY_KERAS"}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        cwd=cwd or project.root,
        env={**inherited, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_build_gives_the_document_of_the_file_and_prints_nothing(project: Project) -> None:
    printed = python(project, f"{BUILD}print(document.model_dump_json(indent=2))")
    assert printed == project.artifact(name="build.json").read_text()


def test_a_build_is_the_command_lines_build(built: Project) -> None:
    told = python(built, f"{BUILD}print({{stage.state for stage in document.stages}})")
    assert told == "{'hit'}\n"


def test_importing_the_package_loads_nothing_and_build_stays_the_function() -> None:
    code = """
    import sys
    import pipeline
    assert {name for name in sys.modules if name.startswith("pipeline")} == {"pipeline"}
    assert "build" in dir(pipeline)
    import pipeline.tasks, pipeline.build_target, pipeline.comparison.compare, pipeline.library
    assert callable(pipeline.build) and callable(pipeline.compare)
    for name in pipeline.__all__:
        assert getattr(pipeline, name).__name__ == name
    try:
        pipeline.no_such_name
    except AttributeError as error:
        assert "no_such_name" in str(error)
    else:
        raise SystemExit("an unknown name was found")
    """
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=environment, check=True)


def test_targets_and_workloads_by_path_and_made_in_python(project: Project, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for kind, name in (("targets", "null.toml"), ("workloads", "grey.py")):
        (project.root / kind / name).rename(elsewhere / name)
    code = f"""
    from pathlib import Path
    from pipeline import Budgets, Target, build, load_target, load_workload
    given = load_target(r"{elsewhere}/null.toml")
    assert given.name == "null" and load_target(given) is given
    workload = load_workload(Path(r"{elsewhere}/grey.py"))
    first = build(Path(r"{elsewhere}/null.toml"), workload)
    own = Target(
        description="made here", runner="null", input_dtype="int8", output_dtype="int8", recipe=given.recipe,
        budgets=Budgets(size_bytes=10), baseline=given.baseline, slim=False,
    )
    for target, name in ((own, "unnamed"), (own.named("mine"), "mine")):
        document = build(target, workload)
        assert (document.target, document.verdict) == (name, "fail")
        assert document.sha256 == first.sha256
        assert Path("artifacts/grey", name, "build.json").is_file()
    """
    python(project, code)


def test_errors_are_raised_with_what_to_do_and_end_no_process(project: Project) -> None:
    project.add("workloads/leaves.py", "raise SystemExit(0)  # build_model")
    code = """
    from pathlib import Path
    from pipeline import RequestError, StepFailed, Target, build, load_target
    requests = [
        dict(target="nul"), dict(workload="gray"), dict(target=Path("no/such.toml")), dict(workload=Path("none.py")),
        dict(workload="leaves"), dict(seed=-1), dict(seed=True), dict(seed=1.5),
    ]
    for request in requests:
        try:
            build(**{"target": "null", "workload": "grey", **request})
        except RequestError as error:
            assert error.received and error.expected and error.fix, error
        else:
            raise SystemExit(f"{request} was accepted")
    failing = load_target("null")
    recipe = ({**failing.recipe[0], "fail": True}, *failing.recipe[1:])
    try:
        build(failing.model_copy(update={"recipe": recipe}), "grey")
    except StepFailed as error:
        assert "told to fail" in error.message
    else:
        raise SystemExit("a failing step went unnoticed")
    """
    python(project, code)
    assert not project.artifact().exists()


def test_a_bad_name_for_a_target_made_in_python(project: Project) -> None:
    code = """
    from pipeline import RequestError, Target
    try:
        Target(description="x", recipe=({"step": "train"},)).named("../mine")
    except RequestError as error:
        print(error.received)
    """
    assert python(project, code) == "'../mine'\n"


def test_a_refusal_of_the_system_is_an_error_of_the_tree(project: Project) -> None:
    project.add("artifacts", "a file where a folder belongs")
    code = """
    from pipeline import PipelineError, build
    try:
        build("null", "grey")
    except PipelineError as error:
        print(error.code)
    """
    assert python(project, code) == "system_refused\n"


def test_a_build_in_a_thread_beside_the_callers_own_keras(project: Project, tmp_path: Path) -> None:
    """A stand-in for the caller's Keras, which uses another backend: it stays as it is, and steps do not get it."""
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "keras.py").write_text("import os\nBACKEND = os.environ['KERAS_BACKEND']\n")
    check = "    assert os.environ['KERAS_BACKEND'] == 'tensorflow'\n"
    project.edit("steps/null_train.py", "    if config.fail:", f"{check}    if config.fail:")
    project.edit("steps/null_train.py", "import time\n", "import os\nimport time\n")
    code = f"""
    import sys
    sys.path.insert(0, r"{tmp_path / "own"}")
    import os, threading
    import keras
    from pipeline import build
    results = []
    thread = threading.Thread(target=lambda: results.append(build("null", "grey")))
    thread.start()
    thread.join()
    assert results[0].artifact.endswith("model.tflite")
    assert keras.BACKEND == os.environ["KERAS_BACKEND"] == "torch"
    assert "TF_USE_LEGACY_KERAS" not in os.environ and "tensorflow" not in sys.modules
    """
    python(project, code, KERAS_BACKEND="torch")


def test_files_that_are_edited_between_two_builds_count(project: Project) -> None:
    code = f"""
    import pathlib
    {BUILD.strip().splitlines()[0]}
    first = build("null", "grey")
    step = pathlib.Path("steps/null_prune.py")
    step.write_text(step.read_text() + "# edited\\n")
    second = build("null", "grey")
    print([stage.name for stage in second.stages if stage.state == "made"][0])
    workload = pathlib.Path("workloads/grey.py")
    workload.write_text(workload.read_text().replace('"test": 100', '"test": 200'))
    third = build("null", "grey")
    print([stage.name for stage in third.stages if stage.state == "made"][0])
    print(third.stages[3].facts["test"]["samples"])
    """
    assert python(project, code) == "null_prune\nnull_train\n200\n"


def test_a_watch_is_told_and_closed(project: Project) -> None:
    code = """
    from pipeline import Watch, build
    told = []
    class Own(Watch):
        def stage_started(self, name, expected_seconds):
            told.append(name)
        def close(self):
            told.append("closed")
    build("null", "grey", watch=Own())
    print(told[0], told[-1])
    """
    assert python(project, code) == "null_train closed\n"


def test_root_is_where_the_caller_says(project: Project, tmp_path: Path) -> None:
    away = tmp_path / "away"
    away.mkdir()
    code = f"""
    from pipeline import build
    build("null", "grey", root=r"{project.root}")
    """
    python(project, code, cwd=away)
    assert project.artifact().is_file()
    assert not list(away.iterdir())


USER_CODE = """
from pathlib import Path

from pipeline import BuildDocument, Target, Workload, build, compare, load_target, load_workload

target: Target = load_target("mobile")
workload: Workload = load_workload(Path("mine.py"))
document: BuildDocument = build(target, workload, seed=3)
size_in_bytes: int = document.size_bytes
names: list[str] = [candidate.name for candidate in compare("mobile", quick=True).candidates]
"""


def test_user_code_is_checked_by_its_types(tmp_path: Path) -> None:
    wrong = {"assignment": "size: str = document.size_bytes", "arg-type": "build(seed='0')", "": ""}
    for name, line in wrong.items():
        (tmp_path / f"user_{name.replace('-', '_')}.py").write_text(f"{USER_CODE}{line}\n")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--ignore-missing-imports", "--follow-imports=silent", "."],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    complaints = [line.partition(":")[0] + line[line.rindex("[") :] for line in done.stdout.splitlines()[:-1]]
    assert sorted(complaints) == ["user_arg_type.py[arg-type]", "user_assignment.py[assignment]"], done.stdout
