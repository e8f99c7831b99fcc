"""What is printed reaches a terminal of any encoding and any width."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from pipeline.report.folding_table import table_of
from pipeline.report.plain_text import ERRORS, in_plain_signs, make_writable, shows_utf8

NAMES = ("target", "size in bytes", "latency", "verdict")
ROW = ("microcontroller", "1,234,567", "36.6 µs (35.9–37.5)", "not applicable")


@pytest.mark.parametrize(
    ("environment", "utf8"),
    [
        ({}, True),
        ({"LANG": "en_US.UTF-8"}, True),
        ({"LANG": "en_US.UTF-8", "LC_ALL": "C"}, False),
        ({"LC_ALL": "", "LANG": "de_DE.ISO-8859-1"}, False),
        ({"LC_CTYPE": "C.utf8", "LANG": "C"}, True),
    ],
)
def test_a_locale_is_taken_at_its_word(environment: dict[str, str], utf8: bool) -> None:
    assert shows_utf8(environment) is utf8


@given(st.text(min_size=1, max_size=20))
def test_any_text_can_be_spelled_in_ascii(text: str) -> None:
    assert in_plain_signs(text).isascii()
    assert in_plain_signs(text)


def test_known_signs_keep_their_meaning() -> None:
    assert in_plain_signs("7→7 36.6 µs −1 … 3×3 naïve") == "7->7 36.6 us -1 ... 3x3 naive"


def test_a_stream_of_another_encoding_takes_every_sign() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    make_writable(stream)
    stream.write("7→7 é 数")
    stream.flush()
    assert stream.errors == ERRORS
    assert stream.buffer.getvalue() == "7->7 é ?".encode("latin-1")


def printed(width: int, encoding: str = "utf-8") -> str:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    make_writable(stream)
    table = table_of(*NAMES)
    table.add_row(*ROW)
    Console(file=stream, width=width).print(table)
    stream.flush()
    return stream.buffer.getvalue().decode(encoding)


def test_a_wide_terminal_gets_columns() -> None:
    lines = [line for line in printed(100).splitlines() if "microcontroller" in line]
    assert len(lines) == 1
    assert all(cell in lines[0] for cell in ROW)


def test_a_narrow_terminal_gets_every_value_whole() -> None:
    lines = printed(40).splitlines()
    assert all(len(line) <= 40 for line in lines)
    for name, value in zip(NAMES, ROW, strict=True):
        assert any(line.split("  ") == [name, value] for line in lines)


@pytest.mark.parametrize("width", [40, 100])
def test_without_utf8_frames_are_ascii(width: int) -> None:
    assert printed(width, "ascii").isascii()
    assert "us (35.9-37.5)" in printed(width, "ascii")


def test_without_utf8_columns_stay_in_line() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    make_writable(stream)
    table = table_of("target", "recipe", "verdict")
    table.add_row("mobile", "train → prune → quantize", "pass")
    table.add_row("", "", "fail")
    Console(file=stream, width=100).print(table)
    stream.flush()
    _, head, _, first, second, *_ = stream.buffer.getvalue().decode().splitlines()
    assert "train -> prune -> quantize" in first
    assert head.index("verdict") == first.index("pass") == second.index("fail")
