"""The store: what is put comes back, or is reported and never handed out; and several processes at once."""

from __future__ import annotations

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.store import Damage, Entry, Store, canonical_json, key_of
from tests.strategies import json_values, quick, records, reordered, texts

ROOT = Path(__file__).parents[2]
FILES = {"model.bin": b"\x00\x01\x02" * 100, "notes.txt": b"hello\n", "empty": b""}


few = settings(quick, max_examples=25)  # each writes to the disk and waits for it


def record(name: str = "a") -> dict[str, Any]:
    return {"step": "train", "workload": "grey", "config": {"name": name}}


def put(store: Store, name: str = "a", files: dict[str, bytes] = FILES, facts: Any = None) -> Entry:
    key = key_of(record(name))
    with store.making(key), store.working_folder(key) as folder:
        for file, content in files.items():
            (folder / file).write_bytes(content)
        return store.put(key, record(name), folder, facts or {"accuracy": 0.99}, 1.25)


def content(entry: Entry) -> dict[str, bytes]:
    return {name: (entry.folder / name).read_bytes() for name in entry.files}


@pytest.fixture
def damage() -> list[Damage]:
    return []


@pytest.fixture
def store(tmp_path: Path, damage: list[Damage]) -> Store:
    return Store(tmp_path / "store", damage.append)


# Keys.


@quick
@given(json_values)
def test_canonical_json_is_one_text_for_equal_values(value: Any) -> None:
    text = canonical_json(value)
    assert canonical_json(reordered(value)) == text
    assert canonical_json(json.loads(text)) == text
    assert json.loads(text) == value


@quick
@given(records, records)
def test_keys_tell_records_apart(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert (key_of(one) == key_of(other)) == (canonical_json(one) == canonical_json(other))
    assert len(key_of(one)) == 64
    assert set(key_of(one)) <= set("0123456789abcdef")


def test_the_key_of_a_record_stays_as_it_is() -> None:
    """A store outlives this program's versions: a change here throws every store away."""
    record = {"step": "prune", "format": 1, "seed": None, "config": {"final_sparsity": 0.85, "layers": ["α", 1]}}
    text = '{"config":{"final_sparsity":0.85,"layers":["α",1]},"format":1,"seed":null,"step":"prune"}'
    assert canonical_json(record) == text
    assert key_of(record) == "e64ab4d9146b3844b2a5281d29ce4e0b55c6c3d21e7f926ec1b7941ac3f84a9e"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {"a": [-float("inf")]}])
def test_what_is_no_number_has_no_key(value: Any) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        key_of({"value": value})


# One process.


@few
@given(
    st.dictionaries(st.text("abc.-_é", min_size=1, max_size=8).filter(lambda name: name.strip(".")), st.binary()),
    records,
)
def test_what_is_put_comes_back(files: dict[str, bytes], facts: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "store")
        entry = put(store, files=files, facts=facts)
        again = Store(store.root).get(entry.key)
        assert again == entry
        assert content(again) == files
        assert again.size_bytes == sum(map(len, files.values()))
        assert again.facts == (facts or {"accuracy": 0.99})
        assert store.peek(entry.key)["facts"] == again.facts
        assert store.verify() == []
        assert not list((store.root / "working").iterdir())


def test_what_was_not_put_is_not_there(store: Store) -> None:
    assert store.get("0" * 64) is None
    assert store.peek("0" * 64) is None
    assert store.entries() == []
    assert store.verify() == []
    assert store.gc([]) == ([], 0)
    assert not store.in_use()


def test_files_are_read_only(store: Store) -> None:
    entry = put(store)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in entry.folder.iterdir()}
    assert modes == dict.fromkeys([*FILES, "record.json"], 0o444)


def test_a_second_put_replaces_the_first(store: Store, damage: list[Damage]) -> None:
    put(store)
    put(store, files={"model.bin": b"other"})
    assert content(store.get(key_of(record()))) == {"model.bin": b"other"}
    assert store.entries() == [key_of(record())]
    assert damage == []
    assert not list((store.root / "damaged").iterdir())


def writable(path: Path) -> Path:
    path.chmod(0o644)
    return path


def alter(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], Any]:
    return lambda folder: writable(folder / name).write_bytes(change((folder / name).read_bytes()))


def in_record(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Any]:
    def apply(content: bytes) -> bytes:
        document = json.loads(content)
        change(document)
        return json.dumps(document).encode()

    return alter("record.json", apply)


DAMAGES = {
    "a bit flipped": (alter("model.bin", lambda content: content[:-1] + bytes([content[-1] ^ 1])), "model.bin"),
    "cut short": (alter("model.bin", lambda content: content[:-1]), "model.bin"),
    "longer": (alter("empty", lambda content: b"x"), "empty"),
    "file missing": (lambda folder: (folder / "notes.txt").unlink(), "notes.txt"),
    "file too many": (lambda folder: (folder / "more.txt").write_bytes(b""), "more.txt"),
    "folder too many": (lambda folder: (folder / "more").mkdir(), "more"),
    "a folder for a file": (lambda folder: [(folder / "empty").unlink(), (folder / "empty").mkdir()], "empty"),
    "record missing": (lambda folder: (folder / "record.json").unlink(), "record.json"),
    "record empty": (alter("record.json", lambda content: b""), "record.json"),
    "record cut short": (alter("record.json", lambda content: content[:-20]), "record.json"),
    "record not UTF-8": (alter("record.json", lambda content: b"\xff" + content), "record.json"),
    "record a list": (alter("record.json", lambda content: b"[1]"), "record.json"),
    "record a number": (alter("record.json", lambda content: b"3"), "record.json"),
    "record too deep": (alter("record.json", lambda content: b"[" * 10**5 + b"]" * 10**5), "record.json"),
    "record another object": (alter("record.json", lambda content: b'{"a": 1}'), "record.json"),
    "facts altered": (in_record(lambda document: document["facts"].update(accuracy=1.0)), "record.json"),
    "facts no number": (in_record(lambda document: document["facts"].update(accuracy=float("nan"))), "record.json"),
    "facts no text": (in_record(lambda document: document["facts"].update(name="\ud800")), "record.json"),
    "seconds altered": (in_record(lambda document: document.update(seconds=0)), "record.json"),
    "hash altered": (in_record(lambda document: document["files"].update(empty="0" * 64)), "record.json"),
    "checksum missing": (in_record(lambda document: document.pop("checksum")), "record.json"),
    "a field more": (in_record(lambda document: document.update(more=1)), "record.json"),
    "a field less": (in_record(lambda document: document.pop("files")), "record.json"),
}


@pytest.mark.parametrize(("alteration", "named"), DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_entry_is_moved_aside_and_reported(
    store: Store, damage: list[Damage], alteration: Callable[[Path], Any], named: str
) -> None:
    entry, other = put(store), put(store, "other")
    alteration(entry.folder)
    (found,) = store.verify()
    assert entry.folder.is_dir(), "verifying leaves it where it is"
    assert store.get(entry.key) is None
    assert damage == [found]
    assert found.key == entry.key
    assert named in found.reason
    assert store.entries() == [other.key]
    assert [path.name[:64] for path in (store.root / "damaged").iterdir()] == [entry.key]
    assert content(put(store)) == FILES, "it can be made anew"
    assert content(store.get(entry.key)) == FILES


def test_the_record_of_another_key_is_damage(store: Store, damage: list[Damage]) -> None:
    entry, other = put(store), put(store, "other")
    shutil.rmtree(entry.folder)
    shutil.copytree(other.folder, entry.folder)
    assert store.get(entry.key) is None
    assert "another key" in damage[0].reason
    assert store.get(other.key) == other


@quick
@given(st.data())
def test_no_change_of_one_byte_is_handed_out(data: st.DataObject) -> None:
    """Whatever byte of whatever file changes, the entry is as it was or it is damage; nothing else suffers."""
    with tempfile.TemporaryDirectory() as folder:
        damage: list[Damage] = []
        store = Store(Path(folder) / "store", damage.append)
        entry, other = put(store), put(store, "other")
        path = writable(entry.folder / data.draw(st.sampled_from(["record.json", "model.bin", "notes.txt"])))
        altered = bytearray(path.read_bytes())
        place = data.draw(st.integers(0, len(altered) - 1))
        altered[place] = data.draw(st.integers(0, 255).filter(lambda byte: byte != altered[place]))
        path.write_bytes(altered)
        seen = store.peek(entry.key)
        assert seen is None or seen["record"] == entry.record
        bad = store.verify()
        found = store.get(entry.key)
        assert found in (None, entry)
        assert bad == damage
        assert (found is None) == bool(damage)
        if path.name != "record.json":
            assert found is None
        assert store.get(other.key) == other


def test_verify_goes_on_past_every_bad_entry(store: Store) -> None:
    entries = {name: put(store, name) for name in DAMAGES}
    good = put(store, "good")
    for name, (alteration, _) in DAMAGES.items():
        alteration(entries[name].folder)
    assert {found.key for found in store.verify()} == {entry.key for entry in entries.values()}
    assert store.verify() == store.verify()
    assert store.get(good.key) == good


def test_a_damaged_record_is_not_peeked_at(store: Store) -> None:
    for name, (alteration, named) in DAMAGES.items():
        entry = put(store, name)
        alteration(entry.folder)
        assert (store.peek(entry.key) is None) == (named == "record.json"), name


# A disk that fills up.


@contextmanager
def failing(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int) -> Iterator[None]:
    """Let the call of that number (0: the first) of `owner.name` fail as on a full disk, and all later ones."""
    real, calls = getattr(owner, name), iter(range(10**6))

    def fails(*arguments: Any, **options: Any) -> Any:
        if next(calls) >= call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, fails)
        yield


@pytest.mark.parametrize("existing", [False, True], ids=["new", "replaced"])
@pytest.mark.parametrize(
    ("owner", "name", "call"),
    [
        *[(os, "fsync", call) for call in range(4)],  # the file, the record, two folders
        (Path, "rename", 0),
        (Path, "rename", 1),
        (Path, "write_text", 0),
        (Path, "chmod", 0),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_put_that_fails_leaves_the_store_sound(
    store: Store,
    damage: list[Damage],
    monkeypatch: pytest.MonkeyPatch,
    existing: bool,
    owner: Any,
    name: str,
    call: int,
) -> None:
    other = put(store, "other")
    before = put(store) if existing else None
    made = (name, call, existing) != ("rename", 1, False)  # nothing to set aside: one rename is all
    with failing(monkeypatch, owner, name, call), pytest.raises(OSError, match="No space") if made else nullcontext():
        put(store, files={"model.bin": b"new"})
    assert store.verify() == []
    found = store.get(key_of(record()))
    assert damage == []
    if found is None or content(found) != {"model.bin": b"new"}:
        assert found == before, "what was there is lost only to what replaces it"
    if found is not None:
        assert {stat.S_IMODE(path.stat().st_mode) for path in found.folder.iterdir()} == {0o444}
    assert store.get(other.key) == other
    assert not list((store.root / "working").iterdir())
    assert content(put(store)) == FILES


# Several processes.

SCRIPT = """
import sys
from pathlib import Path
from pipeline.store import Store
store, kind, key = Store(Path(sys.argv[1])), sys.argv[2], sys.argv[3]
def say(text):
    print(text, flush=True)
if kind == "pin":
    with store.pinned([key]):
        say("pinned")
        sys.stdin.read()
else:
    with store.making(key, lambda: say("waiting")):
        found = store.get(key)
        say("found" if found else "making")
        if kind == "make" and not found:
            with store.working_folder(key) as folder:
                (folder / "half").write_bytes(b"half")
                say("half")
                sys.stdin.read()
                store.put(key, {"name": "shared"}, folder, {}, 1.0)
                say("put")
"""
SHARED = key_of({"name": "shared"})
HANGS_SECONDS = 60


class Other:
    """Another process at the same store; `read` is its next line, `go_on` lets it end."""

    def __init__(self, store: Store, kind: str, key: str = SHARED):
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(store.root), kind, key],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.watchdog = threading.Timer(HANGS_SECONDS, self.process.kill)  # a line that never comes fails the test
        self.watchdog.daemon = True
        self.watchdog.start()

    def read(self) -> str:
        return self.process.stdout.readline().strip()

    def go_on(self) -> list[str]:
        return self.process.communicate()[0].split()

    def kill(self) -> None:
        self.watchdog.cancel()
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def other(store: Store) -> Iterator[Callable[..., Other]]:
    """Start another process; none is left behind."""
    started: list[Other] = []

    def start(kind: str, key: str = SHARED) -> Other:
        started.append(Other(store, kind, key))
        return started[-1]

    yield start
    for process in started:
        process.kill()


def test_of_two_that_make_one_key_one_works_and_the_other_waits(store: Store, other: Callable[..., Other]) -> None:
    first = other("make")
    assert [first.read(), first.read()] == ["making", "half"]
    second = other("make")
    assert second.read() == "waiting"
    assert store.get(SHARED) is None, "half an output is never seen"
    assert first.go_on() == ["put"]
    assert second.read() == "found"
    assert second.go_on() == []
    assert store.verify() == []
    assert len(store.entries()) == 1


def test_keys_do_not_wait_for_each_other(store: Store, other: Callable[..., Other]) -> None:
    first, second = other("make"), other("make", key_of(record()))
    assert [first.read(), second.read()] == ["making", "making"]


def test_a_killed_maker_frees_its_key_and_its_half_is_swept(store: Store, other: Callable[..., Other]) -> None:
    first = other("make")
    assert [first.read(), first.read()] == ["making", "half"]
    second = other("make")
    assert second.read() == "waiting"
    first.kill()
    assert second.read() == "making"
    assert second.read() == "half"
    assert len(list((store.root / "working").iterdir())) == 2
    store.gc([])
    assert len(list((store.root / "working").iterdir())) == 2, "the key's lock is held: one of them is in the making"
    assert second.go_on() == ["put"]
    removed, freed = store.gc([SHARED])
    assert (removed, freed) == ([], 4)
    assert list((store.root / "working").iterdir()) == []
    assert store.get(SHARED).files


def test_gc_removes_what_is_neither_kept_nor_pinned(store: Store) -> None:
    entries = {name: put(store, name) for name in ("kept", "pinned", "old")}
    on_disk = sum(path.stat().st_size for path in entries["old"].folder.iterdir())
    with store.pinned([entries["pinned"].key]):
        assert store.in_use()
        removed, freed = store.gc([entries["kept"].key])
    assert removed == [entries["old"].key]
    assert freed == on_disk
    assert store.entries() == sorted(entries[name].key for name in ("kept", "pinned"))
    assert not store.in_use()
    assert store.gc([])[0] == sorted(entries[name].key for name in ("kept", "pinned"))
    assert store.entries() == []


def test_gc_keeps_what_another_process_pins_until_it_dies(store: Store, other: Callable[..., Other]) -> None:
    entry, kept_by_two = put(store), put(store, "two")
    holder, second, third = other("pin", entry.key), other("pin", kept_by_two.key), other("pin", kept_by_two.key)
    assert [holder.read(), second.read(), third.read()] == ["pinned"] * 3
    assert store.gc([]) == ([], 0)
    assert store.in_use()
    holder.kill()
    second.go_on()
    assert store.gc([])[0] == [entry.key]
    third.kill()
    assert not store.in_use()
    assert store.gc([])[0] == [kept_by_two.key]
    assert list((store.root / "pins").iterdir()) == [], "no pin is left behind"


def test_gc_sweeps_damaged_entries(store: Store) -> None:
    entry = put(store)
    alter("empty", lambda content: b"x")(entry.folder)
    assert store.get(entry.key) is None
    assert store.gc([])[1] > sum(map(len, FILES.values()))
    assert list((store.root / "damaged").iterdir()) == []


@few
@given(st.sets(texts, max_size=5), st.sets(texts, max_size=5))
def test_gc_keeps_exactly_what_is_asked_for(names: set[str], kept: set[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder))
        keys = {name: put(store, name, {"a": b"a"}).key for name in names}
        removed, _ = store.gc(keys[name] for name in names & kept)
        assert sorted(removed) == sorted(keys[name] for name in names - kept)
        assert store.entries() == sorted(keys[name] for name in names & kept)
