"""Every task says what it does, and gives an example that its own parser takes; the README repeats it."""

from __future__ import annotations

import shlex

import pytest
from invoke.parser import Parser

from pipeline.lookup import PACKAGE
from pipeline.report.task_table import with_table, words_of
from pipeline.tasks import namespace

PARSER = Parser(contexts=namespace.to_contexts())


@pytest.mark.parametrize("name", sorted(namespace.task_names))
def test_a_task_has_a_sentence_and_an_example_that_parses(name: str) -> None:
    summary, example = words_of(namespace, name)
    assert summary
    assert summary.endswith(".")
    program, *arguments = shlex.split(example)
    assert program == "invoke"
    (parsed,) = PARSER.parse_argv(arguments)
    assert namespace[parsed.name] is namespace[name]


@pytest.mark.parametrize("name", sorted(namespace.task_names))
def test_every_flag_says_what_it_is_for(name: str) -> None:
    for argument in PARSER.contexts[name].args.values():
        assert argument.help, f"{name}: {argument.names}"


def test_the_readme_has_the_table_of_today() -> None:
    page = (PACKAGE.parent / "README.md").read_text(encoding="utf-8")
    assert page == with_table(page, namespace), "run python -m pipeline.report.task_table README.md"
