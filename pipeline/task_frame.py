"""What every task shares: its flags' help, the request, exit codes, and printing on stdout.

Errors become exits here and nowhere else. Data goes to stdout, everything else to stderr; with
`--json` stdout is exactly one document. Exit codes: 0 all budgets that bind pass, 1 Invoke's own
parser and defects, 2 the request is wrong, 3 inconclusive, 4 a step or runner failed, 5 a budget
fails, 130 interrupted.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import json as json_text
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from invoke import Context, Exit

_HELP = {
    "target": "name of a file in targets/, such as mobile",
    "workload": "name of a workload, or the path of a .py file that is one; left out: mnist",
    "data": "folder or file of your own data, in place of a workload",
    "model": "with --data: network such as mobilenet_v2:width=0.35, trained model's file, or file.py:function",
    "weights": "with --data: file of weights that the training begins with",
    "seed": "seed of weights, order, augmentation and calibration, 0 to 2147483647",
    "json": "print exactly one JSON document on stdout",
    "explain": "say which field of its key caused each stage to be made",
    "dry_run": "print what would run and how long it takes, and stop",
    "force": "make every stage anew, whatever the store holds",
    "quiet": "no progress on stderr: only the result, notes and errors",
}


def help_for(*names: str, **more: str) -> dict[str, str]:
    return {name.replace("_", "-"): text for name, text in _HELP.items() if name in names} | more


BROUGHT = ("data", "model", "weights")
PLAN_HELP = help_for("target", "workload", *BROUGHT, "seed", "json", "explain", "dry_run", "force", "quiet")
DEFAULT_WORKLOAD = "mnist"


def exits(body: Callable[..., int | None]) -> Callable[..., None]:
    """Give a task's body the exit codes, and the error document where `--json` was asked for."""

    @functools.wraps(body)
    def run(context: Context, *arguments: Any, **options: Any) -> None:
        try:
            from pipeline.errors import DiskFull, Interrupted, PipelineError, SystemRefused, is_disk_full
            from pipeline.report.plain_text import make_writable

            make_writable(sys.stderr)
            with contextlib.redirect_stdout(sys.stderr):  # what a project's own modules print is no data
                code = body(context, *arguments, **options)
        except PipelineError as error:
            raise _exit(error, options) from None
        except KeyboardInterrupt:
            message = "interrupted: what was finished is in the store; the same command goes on from there"
            raise _exit(Interrupted(message), options) from None
        except OSError as error:
            if is_disk_full(error):
                raise _exit(DiskFull.at(Path(error.filename or "the project's folder")), options) from None
            raise _exit(SystemRefused.of(error), options) from None
        except Exit:
            raise
        except ModuleNotFoundError as error:
            if (error.name or "pipeline").partition(".")[0] == "pipeline":
                raise
            raise _exit(_not_installed(error), options) from None
        except Exception as error:
            if options.get("json"):
                _print_error({"code": "defect", "message": repr(error)})
            raise  # a defect shows its traceback, and Invoke's exit code 1
        if code:
            raise Exit(code=code)

    return run


def _not_installed(error: ModuleNotFoundError) -> Any:
    from pipeline.doctor.requirements import install_command
    from pipeline.errors import EnvironmentUnsuited

    return EnvironmentUnsuited(
        f"the package {error.name} is not installed in this Python",
        received=sys.executable,
        expected="an environment with what this project requires",
        fix=f"{install_command()}; what else is missing says: invoke doctor",
    )


def needs(*flags: str) -> Callable[[Callable[..., int | None]], Callable[..., int | None]]:
    """Refuse a task without these flags in our own words: Invoke's end without the command to type next.

    Goes below `exits`; the flags' default is "". A parameter such as `from_` is the flag --from.
    """

    def decorate(body: Callable[..., int | None]) -> Callable[..., int | None]:
        @functools.wraps(body)
        def run(context: Context, *arguments: Any, **options: Any) -> int | None:
            from pipeline.errors import RequestError

            missing = [f"--{flag.strip('_').replace('_', '-')}" for flag in flags if not options.get(flag)]
            if missing:
                example = (body.__doc__ or "").partition("Example: ")[2].partition("\n")[0]
                raise RequestError(
                    f"{body.__name__.replace('_', '-')} needs {' and '.join(missing)}",
                    received=f"no {' and no '.join(missing)}",
                    expected=f"{', '.join(f'{flag}=…' for flag in missing)}",
                    fix=example,
                )
            return body(context, *arguments, **options)

        return run

    return decorate


def _exit(error: Any, options: dict[str, Any]) -> Exit:
    if options.get("json"):
        _print_error(error.as_dict())
    return Exit(str(error) if error.code == "interrupted" else f"error: {error}", error.exit_code)


def _print_error(described: dict[str, str]) -> None:
    detail = {"received": "", "expected": "an answer", "fix": "report it with the traceback on stderr"} | described
    try:
        from pipeline.documents import ErrorDetail, ErrorDocument

        text = ErrorDocument(error=ErrorDetail(**detail)).model_dump_json(indent=2)
    except ImportError:  # pydantic may be what the error is about
        text = json_text.dumps({"schema_version": 3, "error": detail}, indent=2)
    _write(lambda: print(text), json=True)


def _write(printing: Callable[[], None], *, json: bool) -> None:
    """Print on the real stdout, whatever its encoding and whether or not somebody reads it."""
    from pipeline.report.plain_text import make_writable

    stdout = sys.__stdout__
    if stdout is None:  # closed by the caller
        return
    if json:
        stdout.reconfigure(encoding="utf-8")  # JSON is UTF-8 whatever the terminal shows
    else:
        make_writable(stdout)
    try:
        with contextlib.redirect_stdout(stdout):
            printing()
            stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the reader has seen enough; the exit code stays


def show(document: Any, json: bool, table: str, module: str = "tables") -> None:
    """Print a document on stdout: as JSON, or through the named function of a module in report/."""
    if json:
        _write(lambda: print(document.model_dump_json(indent=2)), json=True)
    else:
        report = importlib.import_module(f"pipeline.report.{module}")
        _write(lambda: getattr(report, table)(document), json=False)


def request(
    target: str, workload: str, seed: str, *, data: str = "", model: str = "", weights: str = "", quiet: bool = False
) -> tuple[Any, Any, int, Any, Any]:
    """Return target, workload, seed, project and watch; raise RequestError for what is not known."""
    from pipeline.errors import RequestError
    from pipeline.lookup import project_root
    from pipeline.project import open_project
    from pipeline.report.terminal import terminal_watch
    from pipeline.target import load_target
    from pipeline.workload import load_workload

    if not (seed.isascii() and seed.isdigit() and len(seed) <= 10 and int(seed) < 2**31):
        raise RequestError(
            "--seed is not a seed", received=seed, expected="a whole number, 0 to 2147483647", fix="--seed=0"
        )
    refuse_beside_data(workload, data, model, weights)
    root, watch = project_root(), terminal_watch(quiet)
    found = load_target(target, root)
    if data:
        from pipeline.scaffold import from_data

        found, learned = from_data(found, data, model, weights, root)
        watch.note(f"{data}: workload {learned.source}, target {found.name} adapted; `invoke new` writes both for you")
    else:
        learned = load_workload(workload or DEFAULT_WORKLOAD, root)
    return found, learned, int(seed), open_project(root, watch), watch


def refuse_beside_data(workload: str, data: str, model: str, weights: str) -> None:
    """Raise RequestError for flags that say two things, or that say nothing without --data."""
    from pipeline.errors import RequestError

    if data and workload:
        raise RequestError(
            "--data and --workload both say what is learned",
            received=f"--data={data} --workload={workload}",
            expected="one of them",
            fix="leave the other out",
        )
    for name, value in (("model", model), ("weights", weights)):
        if value and not data:
            raise RequestError(
                f"--{name} goes with --data",
                received=f"--{name}={value} without --data",
                expected="a workload's own model, or --data=DIR",
                fix=f"--data=DIR, or write {name} into the workload and its recipe",
            )


def target_list(given: str, workload: str) -> list[str]:
    """Return the targets that `--target=a,b` names, or those that `all` means for a workload, each once."""
    if given == "all":
        from pipeline.lookup import project_root
        from pipeline.target import load_target, target_names

        root = project_root()
        meant = {name: load_target(name, root).workloads for name in target_names(root)}
        learned = Path(workload or DEFAULT_WORKLOAD).stem
        return [name for name, workloads in meant.items() if not workloads or learned in workloads]
    return list(dict.fromkeys(name.strip() for name in given.split(",")))


def planned(
    step: str | None,
    target: str,
    workload: str,
    seed: str,
    json: bool,
    explain: bool,
    dry_run: bool,
    force: bool,
    quiet: bool,
    **brought: str,
) -> tuple[Any, ...] | None:
    """Open the request and its plan up to `step`; print it and return None for `--dry-run`.

    `brought` are data, model and weights.
    """
    from pipeline.explain import plan_document
    from pipeline.plan import make_plan

    found, learned, number, project, watch = request(target, workload, seed, quiet=quiet, **brought)
    plan = make_plan(found, learned, number, project.root)
    if step:
        plan = plan.recipe_only() if step == "convert" else plan.up_to(step)
    if explain or dry_run:
        document = plan_document(plan, found, learned, number, project, force=force)
        if dry_run:
            show(document, json, "print_plan", "plan_tree")
            return None
        from rich.console import Console

        from pipeline.report.plan_tree import print_plan

        print_plan(document, Console(stderr=True))
    return plan, found, learned, number, project, watch
