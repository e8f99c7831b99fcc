"""The README's pictures: there, small, and of what the project is now."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
BYTES_MAX = 250_000


def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_pictures", ROOT / "docs" / "make_pictures.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", sorted(maker().MADE))
def test_a_picture_is_up_to_date(name: str) -> None:
    """`PYTHONPATH=. python -P docs/make_pictures.py NAME` makes it anew; look at it before it is committed."""
    made = maker()
    stamps = json.loads(made.STAMPS.read_text(encoding="utf-8"))
    assert stamps[name] == made.stamp(made.MADE[name][1]), test_a_picture_is_up_to_date.__doc__
    assert 0 < (made.PICTURES / name).stat().st_size < BYTES_MAX
    assert f"docs/pictures/{name}" in (ROOT / "README.md").read_text(encoding="utf-8")


def test_another_source_gives_another_stamp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = maker()
    monkeypatch.setattr(made, "ROOT", tmp_path)
    (tmp_path / "a.css").write_text("one", encoding="utf-8")
    first = made.stamp(("*.css",))
    (tmp_path / "a.css").write_text("two", encoding="utf-8")
    second = made.stamp(("*.css",))
    (tmp_path / "a.css").rename(tmp_path / "b.css")
    assert len({first, second, made.stamp(("*.css",))}) == 3


def test_every_picture_has_a_stamp() -> None:
    made = maker()
    kept = {path.name for path in made.PICTURES.iterdir()} - {made.STAMPS.name}
    assert kept == set(made.MADE) == set(json.loads(made.STAMPS.read_text(encoding="utf-8")))
