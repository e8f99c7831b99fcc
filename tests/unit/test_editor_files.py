"""The editor's files: .vscode/tasks.json and .devcontainer/devcontainer.json.

No package has VS Code's schema of tasks or the specification's of dev containers; these schemas hold the keys that
are used here to what both documentations say of them, and refuse any other key.
"""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from pipeline.tasks import namespace

ROOT = Path(__file__).parents[2]
TASKS = json.loads((ROOT / ".vscode" / "tasks.json").read_text(encoding="utf-8"))
CONTAINER = json.loads((ROOT / ".devcontainer" / "devcontainer.json").read_text(encoding="utf-8"))
TEXT = {"type": "string", "minLength": 1}


def strict(required: list[str], **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


GROUP = strict(["kind"], kind={"enum": ["build", "test"]}, isDefault={"type": "boolean"})
TASK = strict(
    ["label", "type", "command"],
    label=TEXT,
    detail=TEXT,
    type={"enum": ["shell", "process"]},
    command=TEXT,
    args={"type": "array", "items": TEXT},
    group={"anyOf": [{"enum": ["build", "test", "none"]}, GROUP]},
    problemMatcher={"type": "array", "items": TEXT},
)
PICK = strict(
    ["id", "type", "description", "options"],
    id=TEXT,
    type={"const": "pickString"},
    description=TEXT,
    options={"type": "array", "items": TEXT, "uniqueItems": True, "minItems": 1},
    default=TEXT,
)
TASKS_SCHEMA = strict(
    ["version", "tasks"],
    version={"const": "2.0.0"},
    tasks={"type": "array", "items": TASK},
    inputs={"type": "array", "items": PICK},
)
SIZE = {"type": "string", "pattern": r"^\d+([tgmk]b)?$"}
COMMAND = {"anyOf": [TEXT, {"type": "array", "items": TEXT}]}
CONTAINER_SCHEMA = strict(
    ["image"],
    name=TEXT,
    image=TEXT,
    hostRequirements=strict([], cpus={"type": "integer", "minimum": 1}, memory=SIZE, storage=SIZE),
    onCreateCommand=COMMAND,
    postCreateCommand=COMMAND,
    customizations={"type": "object"},
)


def test_both_files_are_as_their_documentation_says() -> None:
    jsonschema.validate(TASKS, TASKS_SCHEMA)
    jsonschema.validate(CONTAINER, CONTAINER_SCHEMA)


@pytest.mark.parametrize(
    ("document", "schema", "key", "value"),
    [
        (TASKS, TASKS_SCHEMA, "version", "0.1.0"),
        (TASKS, TASKS_SCHEMA, "task", []),
        (CONTAINER, CONTAINER_SCHEMA, "hostRequirements", {"memory": "8 gigabytes"}),
        (CONTAINER, CONTAINER_SCHEMA, "postCreate", "pip"),
    ],
)
def test_a_mistake_is_noticed(document: Any, schema: Any, key: str, value: Any) -> None:
    changed = copy.deepcopy(document) | {key: value}
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed, schema)


def test_each_task_and_flag_is_one_that_invoke_has() -> None:
    known = namespace.task_names
    for task in TASKS["tasks"]:
        if task["command"] != "invoke":
            assert all((ROOT / folder).is_dir() for folder in task["args"])
            continue
        name, *flags = task["args"]
        assert name in known, name
        arguments = {flag.replace("_", "-") for one in namespace[name].get_arguments() for flag in one.names}
        given = [re.match(r"--([a-z-]+)", flag) for flag in flags]
        assert {found[1] for found in given if found} <= arguments


def test_the_targets_to_pick_are_those_that_ship() -> None:
    (pick,) = TASKS["inputs"]
    assert set(pick["options"]) == {path.stem for path in (ROOT / "targets").glob("*.toml")}
    assert pick["default"] in pick["options"]


def test_the_container_installs_the_python_and_the_pins_of_this_project() -> None:
    assert 'requires-python = ">=3.11,<3.12"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert CONTAINER["image"].startswith("python:3.11")
    assert "-c constraints.txt" in CONTAINER["postCreateCommand"]
