"""Code in the documentation: commands that the real parser takes, and TOML that the real models take."""

from __future__ import annotations

import re
import tempfile
import tomllib
from pathlib import Path
from typing import Any

import pytest
from docs_blocks import PROGRAMS, ROOT, Block, blocks, commands, tasks_called
from invoke.parser import Parser, ParserContext
from pydantic import ValidationError

from docs.made.pages import TAKEN, made_pages, modules, shipped_techniques
from pipeline.release.facts import CardText
from pipeline.runner import find_runner
from pipeline.target import Target, load_target, target_names
from pipeline.target_runner import config_of
from pipeline.tasks import namespace
from pipeline.toml_files import read_toml

# Blocks without a language that show and are not typed: page and how the text begins.
SHOWN = {
    ("README.md", "budget"),
    ("README.md", "prune_int8"),
    ("docs/design.md", "pipeline/"),
    ("benchmarks/RESULTS.md", "technique"),
    ("benchmarks/records/README.md", "python -P"),  # commands with what they do beside them
}
# Lines for one shell, which tests/null/test_shell_completion.py types into it.
TYPED_INTO_SHELLS = {("docs/shell-completion.md", shell) for shell in ("bash", "zsh", "fish")}
OWN = blocks()
MADE = blocks(
    {page: text for pages in made_pages().values() for page, text in pages.items() if page not in TAKEN.values()}
)
# Docstrings of steps and tasks may show calls as well.
CALLS = [(block.place, call) for block in OWN + MADE if block.is_commands for call in tasks_called(block)]


def shown(block: Block) -> bool:
    return any(page == block.page and block.text.split("\n")[0].strip().startswith(start) for page, start in SHOWN)


def test_every_block_is_of_a_known_kind() -> None:
    unknown = [
        block.place
        for block in OWN
        if not (block.is_commands or block.language in {"toml", "python"} or (not block.language and shown(block)))
        and (block.page, block.language) not in TYPED_INTO_SHELLS
    ]
    assert unknown == []


def test_every_command_is_of_a_known_program() -> None:
    begun = [
        (block.place, command[0])
        for block in OWN
        if block.is_commands and not shown(block)
        for command in commands(block)
    ]
    assert {place: word for place, word in begun if word not in PROGRAMS} == {}
    assert len(begun) > 80


@pytest.fixture(scope="module")
def parser() -> Parser:
    return Parser(contexts=namespace.to_contexts(), initial=ParserContext())


@pytest.mark.parametrize("place_and_call", CALLS, ids=lambda one: f"{one[0]} {' '.join(one[1])}"[:90])
def test_a_call_is_taken_by_the_tasks_parser(parser: Parser, place_and_call: tuple[str, list[str]]) -> None:
    place, call = place_and_call
    parsed = parser.parse_argv(call)  # raises ParseError for an unknown task or flag
    assert len(parsed) == 2, f"{place}: one task a line"
    assert not parsed.unparsed


def test_an_unknown_flag_would_be_seen(parser: Parser) -> None:
    for call in (["build", "--targets=mobile"], ["bild"], ["inspect", "--text", "a.tflite"]):
        with pytest.raises(Exception, match=r"(?i)no idea what"):
            parser.parse_argv(call)


def test_extras_that_are_installed_exist() -> None:
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    texts = " ".join(block.text for block in OWN)
    named = re.findall(r"(?:edge-deployment-pipeline|'\.)\[([\w,-]+)\]", texts)
    assert named
    assert {extra for group in named for extra in group.split(",")} <= extras


# ---------------------------------------------------------------- TOML


def check_toml(block: Block) -> str:
    """Hold a block against the models of the file that it is of; return which that is."""
    data = tomllib.loads(block.text)
    if set(data) == {"card"}:
        for text in data["card"].values():
            CardText.model_validate(text)
        return "release.toml"
    if set(data) <= set(target_names(ROOT)):
        for name, device in data.items():
            target = load_target(name, ROOT).model_copy(update={"device": device})
            config_of(find_runner(target.runner, ROOT), target)
        return "devices.toml"
    base = _base(block.page)
    merged = data if "description" in data else base | data
    target = Target.model_validate(merged)
    if "device" in data:
        config_of(find_runner(target.runner, ROOT), target)
    for entry in data.get("recipe", ()):
        _check_step(dict(entry))
    return "target"


def _base(page: str) -> dict[str, Any]:
    """Return the shipped target that a part of a target on this page belongs to."""
    name = page.rsplit("/", 1)[-1].removesuffix(".md")
    path = ROOT / "targets" / f"{name if name in target_names(ROOT) else 'mobile'}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _check_step(entry: dict[str, Any]) -> None:
    """Validate a step's parameters, in a project that has the files which they name, for one kind of input."""
    step = modules("pipeline.steps")[entry.pop("step")]
    with tempfile.TemporaryDirectory() as root:
        for key in step.Config.model_fields.keys() & {"path", "weights"} & entry.keys():
            file = Path(root) / entry[key]
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        refused = []
        for dtype in ("int8", "float32"):
            given = {"seed": 0, "input_dtype": dtype, "output_dtype": dtype}
            filled = {key: value for key, value in given.items() if key in step.Config.model_fields}
            try:
                step.Config.model_validate({**filled, **entry}, context={"root": Path(root)})
            except ValidationError as error:
                refused.append(error)
        if len(refused) == 2:
            raise refused[0]


TOMLS = [block for block in OWN + MADE if block.language == "toml"]


@pytest.mark.parametrize("block", TOMLS, ids=lambda block: block.place)
def test_toml_is_what_its_reader_takes(block: Block) -> None:
    assert check_toml(block)


@pytest.mark.parametrize(
    "text",
    [
        "[budgets]\nsize_byte = 3\n",
        '[[recipe]]\nstep = "prune"\nsparsity = 0.5\n',
        '[raspberry-pi]\nhostname = "pi"\n',
        '[card.mnist]\nintent = "digits"\n',
        '[device]\naccelerator = "ethos-u99"\n',
    ],
)
def test_a_wrong_key_would_be_seen(text: str) -> None:
    from pipeline.errors import BadTarget

    with pytest.raises((ValidationError, BadTarget)):
        check_toml(Block("docs/targets/ethos-u55.md", "toml", text, 1))


def test_shipped_targets_are_read_by_the_same_models() -> None:
    for name in target_names(ROOT):
        assert read_toml(ROOT / "targets" / f"{name}.toml", Target).description


def test_every_technique_is_tried_by_a_command_of_its_own() -> None:
    tried = {call[-1].removeprefix("--techniques=") for _, call in CALLS if call[0] == "compare"}
    assert set(shipped_techniques()) <= tried
