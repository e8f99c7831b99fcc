"""CSV files: pixels and features, what is sniffed, how rows are split, and errors that name line and column."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline import errors
from pipeline.data import csv_file
from pipeline.data._arrays import ArrayData
from pipeline.errors import EXIT_REQUEST, RequestError

SPLITS = ("train", "validation", "test")


def opened(tmp_path: Path, text: str | bytes, toml: str = "", name: str = "maße.csv") -> ArrayData:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.with_name(name + ".toml").write_text(toml)
    assert csv_file.takes(path)
    return csv_file.open_data(path)


def table(rows: int = 120, separator: str = ",", header: bool = True, quote: bool = False) -> str:
    """Rows of a length, a colour and a kind; the kind follows from both."""
    draw = np.random.default_rng(0)
    lines = [separator.join(("length", "colour", "kind"))] if header else []
    for _ in range(rows):
        length, colour = draw.normal(50, 10), draw.choice(["red", "green", "blau ä"])
        kind = "big" if length > 50 else "small"
        lines.append(separator.join((f"{length:.3f}", f'"{colour}"' if quote else colour, kind)))
    return "\n".join(lines) + "\n"


def everything(data: ArrayData) -> tuple[np.ndarray, np.ndarray]:
    parts = [data.load(split) for split in SPLITS]
    return np.concatenate([x for x, _ in parts]), np.concatenate([y for _, y in parts])


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("quote", [False, True])
def test_features_are_standardized_and_categories_one_hot(tmp_path: Path, separator: str, quote: bool) -> None:
    data = opened(tmp_path, table(separator=separator, quote=quote), 'target = "kind"')
    assert (data.task, data.labels, data.input_shape) == ("classification", ("big", "small"), (4,))
    assert data.report() == {
        "separator": separator,
        "header": True,
        "target": ["kind"],
        "columns": ["length", "colour=blau ä", "colour=green", "colour=red"],
        "unseen_categories": {},
    }
    train, labels = data.load("train")
    prepared = data.preprocess(train)
    assert prepared.dtype == np.float32
    assert prepared[:, 0].mean() == pytest.approx(0, abs=1e-6)
    assert prepared[:, 0].std() == pytest.approx(1, abs=1e-6)
    assert (prepared[:, 1:].sum(axis=1) == 1).all()
    assert np.array_equal(prepared[:, 1:], train[:, 1:])
    assert np.array_equal(labels == 0, train[:, 0] > 50)
    assert data.input_range == (prepared.min(), prepared.max())


def test_without_a_header_columns_are_numbered(tmp_path: Path) -> None:
    text = table(header=False)
    with pytest.raises(RequestError, match="target is not known"):
        opened(tmp_path, text)
    numbered = opened(tmp_path, text.replace("\n", ",9\n"), 'target = "3"\nignore = ["4"]')
    named = opened(tmp_path, table(), 'target = "kind"', name="named.csv")
    for ours, theirs in zip(everything(numbered), everything(named), strict=True):
        assert np.array_equal(ours, theirs)


def test_regression_and_several_targets(tmp_path: Path) -> None:
    lines = [f"{i},{i / 2},{i % 5}" for i in range(100)]
    text = "a,b,c\n" + "\n".join(lines)
    one = opened(tmp_path, text, 'target = "b"')
    assert (one.task, one.labels, one.input_shape) == ("regression", ("b",), (2,))
    samples, values = everything(one)
    assert np.array_equal(values[:, 0], samples[:, 0] / 2)
    assert values.dtype == np.float32
    two = opened(tmp_path, text, 'target = ["b", "c"]')
    assert (two.task, two.labels, two.load("test")[1].shape[1]) == ("regression", ("b", "c"), 2)
    asked = opened(tmp_path, text, 'target = "c"\ntask = "regression"\nlabels = ["mod"]')
    assert (asked.task, asked.labels) == ("regression", ("mod",))


def test_binary_and_multi_label(tmp_path: Path) -> None:
    text = "f,y,z\n" + "\n".join(f"{i},{i % 2},{int(i % 3 == 0)}" for i in range(100))
    binary = opened(tmp_path, text, 'target = "y"\ntask = "binary"\nlabels = ["0", "1"]')
    samples, labels = everything(binary)
    assert binary.task == "binary"
    assert np.array_equal(labels, samples[:, 0] % 2)
    several = opened(tmp_path, text, 'target = ["y", "z"]')
    samples, labels = everything(several)
    assert (several.task, several.labels) == ("multi_label", ("y", "z"))
    assert np.array_equal(labels[:, 1], samples[:, 0] % 3 == 0)


def test_classes_that_are_numbers_keep_their_names(tmp_path: Path) -> None:
    text = "f,quality\n" + "\n".join(f"{i},{(10, 9, 3)[i % 3]}" for i in range(60))
    data = opened(tmp_path, text, 'target = "quality"')
    assert data.labels == ("3", "9", "10")
    samples, labels = everything(data)
    assert np.array_equal(labels, np.array([2, 1, 0])[samples[:, 0].astype(int) % 3])


def test_a_category_that_train_lacks_is_all_zeros_and_told(tmp_path: Path) -> None:
    rows = [f"{i},{'abc'[i % 3]},{i % 2}" for i in range(60)]
    text = "number,letter,y\n" + "\n".join(rows)
    train_numbers = opened(tmp_path, text).load("train")[0][:, 0]
    other = next(i for i in range(60) if i not in train_numbers)
    # The new text moves the row to some split; one of several texts leaves it outside train.
    for letter in "defghijk":
        changed = "number,letter,y\n" + "\n".join(
            f"{i},{letter if i == other else 'abc'[i % 3]},{i % 2}" for i in range(60)
        )
        data = opened(tmp_path, changed)
        if data.report()["unseen_categories"]:
            samples, _ = everything(data)
            assert data.report()["unseen_categories"] == {"letter": [letter]}
            assert samples[samples[:, 0] == other, 1:].tolist() == [[0, 0, 0]]
            return
    pytest.fail("every text fell into train")


@pytest.mark.parametrize("names", ["pixel", "none"])
@pytest.mark.parametrize(("shape", "toml"), [((8, 8, 1), ""), ((8, 8, 3), ""), ((4, 20, 1), "height = 4\nwidth = 20")])
def test_pixels(tmp_path: Path, names: str, shape: tuple[int, int, int], toml: str) -> None:
    count = int(np.prod(shape))
    pixels = np.random.default_rng(2).integers(0, 256, (50, count))
    header = ["label", *(f"pixel{i}" for i in range(count))]
    rows = [",".join(map(str, [i % 2, *row])) for i, row in enumerate(pixels)]
    text = "\n".join(([",".join(header)] if names == "pixel" else []) + rows)
    if names == "none" and shape != (8, 8, 1):
        toml += '\ntarget = "1"'
    data = opened(tmp_path, text, toml)
    assert (data.input_shape, data.input_range, data.labels) == (shape, (0, 1), ("0", "1"))
    samples, _ = everything(data)
    assert samples.dtype == np.uint8
    assert {tuple(sample.ravel()) for sample in samples} == {tuple(row) for row in pixels}
    assert np.allclose(data.preprocess(samples) * 255, samples)


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(60, 150), added=st.integers(1, 60))
def test_added_rows_move_no_other(tmp_path_factory: pytest.TempPathFactory, rows: int, added: int) -> None:
    lines = [f"{i},{i * i % 7},{i % 2}" for i in range(rows + added)]
    toml = 'target = "y"\nshares = { validation = 0.2, test = 0.2 }'

    def split_by_row(lines: list[str]) -> dict[float, str]:
        data = opened(tmp_path_factory.mktemp("rows"), "a,b,y\n" + "\n".join(lines), toml)
        return {row[0]: split for split in SPLITS for row in data.load(split)[0]}

    assert split_by_row(lines[:rows]).items() <= split_by_row(lines[::-1]).items()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), min_size=80, max_size=80, unique=True))
def test_numbers_are_read_as_they_were_written(tmp_path_factory: pytest.TempPathFactory, values: list[float]) -> None:
    path = tmp_path_factory.mktemp("numbers") / "numbers.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows([["x", "y"], *([value, i % 2] for i, value in enumerate(values))])
    parts = csv_file.read_table(path, ",", ["x", "y"], True, lambda name: name == "y", ["x"], "float64")
    assert parts.numbers[:, 0].tolist() == values
    assert parts.texts == {"y": [str(i % 2) for i in range(80)]}


LINES = [f"{i},{i % 7},{'ab'[i % 2]},{i % 2}" for i in range(60)]


def with_line(number: int, line: str) -> str:
    lines = ["id,size,letter,y", *LINES]
    lines[number - 1] = line
    return "\n".join(lines)


@pytest.mark.parametrize(
    ("text", "toml", "said"),
    [
        (with_line(17, "1,NaN,a,0"), "", "line 17, column 'size': no finite number"),
        (with_line(17, "1,inf,a,0"), "", "line 17, column 'size': no finite number"),
        (with_line(17, "1,,a,0"), "", "line 17, column 'size': an empty cell"),
        (with_line(17, "1,many,a,0"), "", "line 17, column 'size': no number"),
        (with_line(17, "1,2,,0"), "", "line 17, column 'letter': an empty cell"),
        (with_line(17, "1,2,a,"), "", "line 17, column 'y': an empty cell"),
        (with_line(17, "1,2,a"), "", "line 17: column 'y' is missing"),
        (with_line(17, "1,2,a,0,5"), "", "line 17: a cell behind the last column 'y'"),
        (with_line(17, "1,2,a,7"), 'labels = ["0", "1"]', "line 17, column 'y': a label out of range"),
        (with_line(17, "1,2,a,x"), 'task = "regression"', "line 17, column 'y': no number"),
        (with_line(1, "id,size,size,y"), "", "a column without a name of its own"),
        (with_line(1, "id,size,letter,z"), "", "target is not known"),
        ("\n".join(["id,y", *(f"{i},0" for i in range(60))]), "", "one class only"),
        ("id,size,letter,y\n" + "\n".join(LINES), 'labels = ["0", "1", "2"]', "an empty class: '2'"),
        ("id,size,letter,y\n" + "\n".join(LINES), 'target = "lettr"', "did you mean 'letter'"),
        ("id,size,letter,y\n" + "\n".join(LINES), 'ignore = ["id", "size", "letter"]', "no features"),
        ("id,size,letter,y\n" + "\n".join(LINES), 'content = "pixels"\nheight = 2', "do not fill a picture"),
        ("id,size,letter,y\n" + "\n".join(LINES), "targett = 'y'", "did you mean 'target'"),
        ("id,size,letter,y\n" + "\n".join(LINES), "separator = ';'", "target is not known"),
        ("id,y\n", "", "has no rows"),
        ("", "", "is empty"),
        ("\n\n", "", "is empty"),
        (b"id,y\n\xff\xfe,1\n", "", "cannot be read"),
        ('id,y\n"1"2,1\n', "", "cannot be read"),
        ("id,y\n" + "\n".join(f"u{i},{i % 2}" for i in range(2000)), "", "too many values"),
        ("y,p0,p1,p2,p3\n" + "\n".join(f"{i % 2},{i},3,4,256" for i in range(99)), "channels = 1", "'p3': no pixel"),
    ],
)  # fmt: skip
def test_errors_name_line_and_column(tmp_path: Path, text: Any, toml: str, said: str) -> None:
    with pytest.raises(RequestError) as caught:
        opened(tmp_path, text, toml)
    assert said in str(caught.value)
    assert caught.value.exit_code == EXIT_REQUEST
    assert "maße.csv" in str(caught.value)
    assert caught.value.received
    assert caught.value.fix


def test_an_error_beyond_the_first_thousand_rows_is_found(tmp_path: Path) -> None:
    lines = [f"{i},{i % 2}" for i in range(2500)]
    lines[2100] = "word,1"
    with pytest.raises(RequestError, match="line 2102, column 'id': no number"):
        opened(tmp_path, "id,y\n" + "\n".join(lines))


def test_decimal_commas_are_no_categories(tmp_path: Path) -> None:
    rows = "".join(f"{number},{number % 7}5;{number};{'ab'[number % 2]}\n" for number in range(60))
    with pytest.raises(errors.DataError, match="decimal commas") as caught:
        opened(tmp_path, f"f;g;label\n{rows}")
    assert "'f'" in caught.value.message
