"""Every page that is made: from tasks, pydantic models, steps and techniques, or another file of the repository.

What a page says comes from the code's own descriptions. Nothing is written to the disk.
"""

from __future__ import annotations

import copy
import importlib
import inspect
import pkgutil
import re
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

from docs.made.fields import field_tables
from docs.made.measured import measured_table, measured_techniques
from pipeline.target import recipe_toml

ROOT = Path(__file__).parents[2]
# Files outside docs/, and the pages that they become.
TAKEN = {
    "README.md": "readme.md",
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "benchmarks/RESULTS.md": "results.md",
    "benchmarks/records/README.md": "records.md",
    "examples/README.md": "examples/index.md",
} | {
    path.relative_to(ROOT).as_posix(): f"examples/{path.parent.name}.md"
    for path in sorted(ROOT.glob("examples/*/README.md"))
}
# Tasks whose document depends on what they are asked for.
_MORE_DOCUMENTS = {"build": ("builds", "plan"), "bench": ("bench_compare",)}


def made_pages() -> dict[str, dict[str, str]]:
    """Return {section: {page: Markdown}}; paths are below docs/."""
    return {
        "steps": _step_pages(),
        "tasks": _task_pages(),
        "toml": _toml_pages(),
        "documents": _document_pages(),
        "examples": {page: _text(source) for source, page in TAKEN.items() if page.startswith("examples/")},
        "": {page: _text(source) for source, page in TAKEN.items() if not page.startswith("examples/")}
        | {"techniques.md": _techniques_page()},
    }


def _text(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


# ---------------------------------------------------------------- tasks


def _task_pages() -> dict[str, str]:
    from pipeline.tasks import namespace

    pages = {}
    rows = []
    for name in sorted(namespace.task_names):
        task = copy.copy(namespace[name])
        task.help = dict(task.help)  # Invoke takes help out of the task when it reads the flags
        flags = task.get_arguments()
        text = inspect.cleandoc(task.__doc__ or "")
        said, _, example = text.partition("Example: ")
        pages[f"reference/tasks/{name}.md"] = (
            f"# invoke {name}\n\n{_prose(said.rstrip())}\n\n```console\n{example}\n```\n\n"
            f"{_flags(flags)}\n{_printed(name, flags)}"
        )
        rows.append(f"| [`invoke {name}`]({name}.md) | {_prose(text.splitlines()[0])} |")
    index = "# Tasks\n\n| command | what it does |\n| --- | --- |\n" + "\n".join(rows) + "\n"
    return {"reference/tasks/index.md": index} | pages


def _flags(arguments: list[Any]) -> str:
    if not arguments:
        return "It takes no flags.\n"
    rows = ["| flag | left out | what it says |", "| --- | --- | --- |"]
    for argument in arguments:
        name = argument.attr_name or argument.name
        flag = name.replace("_", "-")
        switch = argument.kind is bool
        written = f"{flag.upper()} or --{flag}" if argument.positional else f"--{flag}" + ("" if switch else "=…")
        default = (
            "off" if switch and not argument.default else f"`{argument.default}`" if argument.default else "nothing"
        )
        rows.append(f"| `{written}` | {default} | {_cell(argument.help or '')} |")
    return "\n".join(rows) + "\n"


def _printed(name: str, arguments: list[Any]) -> str:
    """Return where the schema of what `--json` prints is."""
    from pipeline.schemas import DOCUMENTS

    if not any(argument.name == "json" for argument in arguments):
        return ""
    wanted = (name.replace("-", "_"), name.partition(".")[0], *_MORE_DOCUMENTS.get(name, ()))
    links = [f"[{one}](../documents/{one}.md)" for one in dict.fromkeys(wanted) if one in DOCUMENTS]
    return f"\n`--json` prints {' or '.join(links)}; on failure [error](../documents/error.md).\n" if links else ""


# ---------------------------------------------------------------- TOML


def toml_models() -> dict[str, list[tuple[str, type]]]:
    """Return {page: [(heading, model)]} of every key that people write, apart from steps'."""
    from pipeline.comparison.techniques import Technique, Techniques
    from pipeline.release.facts import CardText
    from pipeline.target import Budgets, LatencyBudget, Limits, Target

    return {
        "target": [
            *(("targets/NAME.toml", Target), ("[budgets]", Budgets)),
            *(("A latency budget", LatencyBudget), ("[limits]", Limits)),
        ],
        "devices": [
            (f"Runner {name}", module.Config)
            for name, module in modules("pipeline.runners").items()
            if hasattr(module, "Config")
        ],
        "techniques": [("techniques.toml", Techniques), ("[technique.NAME]", Technique)],
        "release": [("[card.WORKLOAD]", CardText)],
        "data": [
            (f"Reader {name}", module.Settings)
            for name, module in modules("pipeline.data").items()
            if hasattr(module, "Settings")
        ],
    }


_TOML_WORDS = {
    "target": (
        "Targets",
        "One file a target. The keys of each step of `[[recipe]]` are on the [steps' pages](../../steps/index.md).",
    ),
    "devices": (
        "Devices",
        "A runner's settings: `[<target>]` of `devices.toml` beside `tasks.py`, or `[device]` of the target.",
    ),
    "techniques": (
        "Techniques",
        "What `invoke compare` tries; yours lie beside `tasks.py`. See [techniques](../../techniques.md).",
    ),
    "release": (
        "Releases",
        "`release.toml` beside `tasks.py`: what the author says of a model. See [releases](../../releases.md).",
    ),
    "data": ("Data", "Beside the data, `data.toml` in a folder or `<file>.toml`. See [your own data](../../data.md)."),
}


def _toml_pages() -> dict[str, str]:
    pages = {}
    for name, models in toml_models().items():
        title, words = _TOML_WORDS[name]
        parts = [f"# TOML: {title}\n\n{words}\n"]
        for heading, model in models:
            if len(models) == 1:
                parts.append(field_tables(model))
            else:
                parts.append(f"## {heading}\n\n{_first_line(model)}\n\n{_own_table(model)}")
        pages[f"reference/toml/{name}.md"] = "\n".join(parts)
    return pages


def _own_table(model: type) -> str:
    """Return a model's own keys; models inside it follow in bold, since several of a page may share one."""
    return field_tables(model, level=3) if not _shared(model) else _without_definitions(field_tables(model, level=3))


def _shared(model: type) -> bool:
    return model.__name__ in {"Target", "Techniques", "Budgets"} or model.__name__ == "Settings"


def _without_definitions(tables: str) -> str:
    return re.sub(r"\[(\w+)\]\(#\w+\)", r"table \1", tables.split("\n### ")[0]) + "\n"


# ---------------------------------------------------------------- documents


def _document_pages() -> dict[str, str]:
    from pipeline.schemas import DOCUMENTS

    rows = ["| document | what it is |", "| --- | --- |"]
    pages = {}
    for name, model in DOCUMENTS.items():
        said = _first_line(model)
        rows.append(f"| [{name}]({name}.md) | {_cell(said)} |")
        tables = field_tables(model, mode="serialization")
        pages[f"reference/documents/{name}.md"] = (
            f"# Document {name}\n\n{said}\n\n[JSON schema](../../schemas/{name}.json)\n\n{tables}"
        )
    index = "# JSON documents\n\nWhat `--json` prints, and what lies in files.\n\n" + "\n".join(rows) + "\n"
    return {"reference/documents/index.md": index} | pages


# ---------------------------------------------------------------- steps and techniques


def modules(package: str) -> dict[str, ModuleType]:
    """Return a package's public modules by name; a file whose name begins with `_` is not one."""
    path = importlib.import_module(package).__path__
    names = sorted(found.name for found in pkgutil.iter_modules(path) if not found.name.startswith("_"))
    return {name: importlib.import_module(f"{package}.{name}") for name in names}


def shipped_techniques() -> dict[str, dict[str, Any]]:
    return tomllib.loads(_text("pipeline/techniques.toml"))["technique"]


def _step_pages() -> dict[str, str]:
    techniques, measured = shipped_techniques(), measured_techniques(ROOT)
    rows = ["| step | takes | gives | what it does |", "| --- | --- | --- | --- |"]
    pages = {}
    for name, module in modules("pipeline.steps").items():
        said = inspect.cleandoc(module.__doc__ or "")
        used = [
            one for one, technique in techniques.items() if any(name == entry["step"] for entry in technique["recipe"])
        ]
        does = re.split(r"[.:](?=\s)", said)[0]
        rows.append(f"| [`{name}`]({name}.md) | {module.CONSUMES or 'nothing'} | {module.PRODUCES} | {_cell(does)}. |")
        parts = [f"# Step {name}", _prose(said), "## In a recipe", f"```toml\n{_use(name, module)}```"]
        if extra := getattr(module, "EXTRA", None):
            parts.append(f"It needs `pip install 'edge-deployment-pipeline[{extra}]'`.")
        parts += ["## Its keys", field_tables(module.Config, level=3)]
        if rows_of := {one: measured[one] for one in used if one in measured}:
            table = measured_table({"float32": measured["float32"]} | rows_of).replace("TECHNIQUES", "../techniques.md")
            parts += ["## Measured", f"On LeNet-5 and MNIST, with this step in it ([how](../results.md)):\n\n{table}"]
        pages[f"steps/{name}.md"] = "\n\n".join(parts) + "\n"
    index = "# Steps\n\nA recipe is an ordered list of these; what one gives is what the next one takes.\n\n"
    return {"steps/index.md": index + "\n".join(rows) + "\n"} | pages


def _use(name: str, module: ModuleType) -> str:
    """Return how a recipe that lies in the repository uses a step; else the step with what it cannot do without."""
    for folder in ("targets", "examples/*/targets", "benchmarks/records/targets"):
        for path in sorted(ROOT.glob(f"{folder}/*.toml")):
            for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("recipe", ()):
                if entry["step"] == name:
                    return recipe_toml([entry])
    for technique in shipped_techniques().values():
        for entry in technique["recipe"]:
            if entry["step"] == name:
                return recipe_toml([entry])
    needed = [key for key, field in module.Config.model_fields.items() if field.is_required()]
    return recipe_toml([{"step": name} | {key: f"path/to/{key}" for key in needed if key not in ("seed",)}])


def _techniques_page() -> str:
    measured = measured_techniques(ROOT)
    parts = [
        "# Techniques",
        "What `invoke compare` tries after the target's own training. "
        "[Which technique when](which-technique.md) says what follows from the figures; "
        "they are of LeNet-5 and MNIST on one host ([how](results.md)).",
        measured_table(measured).replace("TECHNIQUES", ""),
    ]
    for name, technique in shipped_techniques().items():
        steps = ", ".join(f"[`{entry['step']}`](steps/{entry['step']}.md)" for entry in technique["recipe"])
        command = f"invoke compare --target=mobile --techniques={name}"
        row = measured.get(name)
        figures = measured_table({name: row}).replace("TECHNIQUES", "") if row else "It was not measured."
        parts += [
            f"## {name}",
            f"{technique['description'].capitalize()}. Steps: {steps}."
            + (f" Held against [`{technique['against']}`](#{technique['against']})." if "against" in technique else ""),
            figures,
            f"```sh\n{command}\n```",
            f"```toml\n{recipe_toml(technique['recipe'])}```",
        ]
    parts += ["## target", "The target's own recipe, such as that of [mobile](targets/mobile.md)."]
    return "\n\n".join(parts) + "\n"


# ---------------------------------------------------------------- text


def _first_line(model: type) -> str:
    return _prose(inspect.cleandoc(model.__doc__ or "").split("\n\n")[0].replace("\n", " "))


def _prose(text: str) -> str:
    """Return a docstring as Markdown: angle brackets outside of code are words, not tags."""
    lines = []
    for line in text.splitlines():
        if line.startswith("    "):
            lines.append(line)
            continue
        parts = line.split("`")
        lines.append("`".join(part if index % 2 else part.replace("<", "&lt;") for index, part in enumerate(parts)))
    return "\n".join(lines)


def _cell(text: str) -> str:
    return _prose(" ".join(text.split())).replace("|", "\\|")
