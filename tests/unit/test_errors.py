"""The exception tree: its drawing, its exit codes, and its way through another process."""

from __future__ import annotations

import errno
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import errors
from pipeline.errors import DiskFull, PipelineError, UnknownName, error_from, is_disk_full
from tests.strategies import quick


def tree(kind: type[PipelineError] = PipelineError) -> list[type[PipelineError]]:
    return [kind, *(found for child in kind.__subclasses__() for found in tree(child))]


CLASSES = tree()


@quick
@given(st.sampled_from(CLASSES), st.text(), st.text(), st.text(), st.text())
def test_every_class_crosses_a_process(kind: type, message: str, received: str, expected: str, fix: str) -> None:
    described = {"code": kind.code, "message": message, "received": received, "expected": expected, "fix": fix}
    error = error_from(json.loads(json.dumps(described)))
    assert type(error) is kind
    assert error.as_dict() == described
    assert error.exit_code == kind.exit_code


@pytest.mark.parametrize(
    "error",
    [
        UnknownName("target", "mobil", ["mobile", "browser"], where="here.toml"),
        DiskFull.at(Path("full")),
        PipelineError("bad", received=3, expected="4", fix="add 1"),
    ],
)
def test_classes_with_their_own_constructors_cross_too(error: PipelineError) -> None:
    again = error_from(error.as_dict())
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert again.args == error.args


def test_codes_tell_the_classes_apart() -> None:
    assert len({kind.code for kind in CLASSES}) == len(CLASSES)


def test_the_drawing_shows_every_class_its_parent_and_its_exit_code() -> None:
    """Each line of the tree in the docstring is a class; how far it is indented says what it derives from."""
    drawn: dict[str, tuple[str, int]] = {}
    above = [(-1, "PipelineError")]
    for match in re.finditer(r"^(.*[├└]── )(\w+) +(\d+) ", errors.__doc__ or "", re.MULTILINE):
        depth = len(match[1])
        while above[-1][0] >= depth:
            above.pop()
        drawn[match[2]] = (above[-1][1], int(match[3]))
        above.append((depth, match[2]))
    assert drawn == {
        kind.__name__: (kind.__base__.__name__, kind.exit_code) for kind in CLASSES if kind is not PipelineError
    }


def test_text_holds_what_is_known_and_no_empty_line() -> None:
    assert str(PipelineError("bad", received=3, expected="4", fix="add 1")).splitlines() == [
        "bad",
        "  received: 3",
        "  expected: 4",
        "  to mend: add 1",
    ]
    assert str(PipelineError("bad")) == "bad"


@pytest.mark.parametrize(
    ("name", "known", "fix", "expected"),
    [
        ("mobil", ["browser", "mobile"], "did you mean 'mobile'?", "one of browser, mobile"),
        ("xyz", ["browser", "mobile"], "use one of these names", "one of browser, mobile"),
        ("mobile", [], "", "a target, but none was found"),
    ],
)
def test_unknown_name_suggests_the_nearest(name: str, known: list[str], fix: str, expected: str) -> None:
    error = UnknownName("target", name, known)
    assert (error.fix, error.expected, error.received) == (fix, expected, name)


@pytest.mark.parametrize("name", ["", "xyz"])
def test_a_name_that_is_like_no_other_is_mended_by_the_list(name: str) -> None:
    assert UnknownName("target", name, ["browser", "mobile"], listed_by="invoke targets").fix == "invoke targets"


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, "no space"), True),
        (OSError(errno.EDQUOT, "quota"), True),
        (OSError(errno.EACCES, "refused"), False),
        (ValueError("no space left on device"), False),
    ],
)
def test_full_disk_is_told_from_other_errors(error: Exception, full: bool) -> None:
    assert is_disk_full(error) is full
