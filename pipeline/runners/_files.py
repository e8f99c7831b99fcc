"""The cheap check that every runner makes before it hands a file to a device."""

from __future__ import annotations

from pathlib import Path

from pipeline.errors import BadModelFile

_IDENTIFIER = b"TFL3"  # bytes 4 to 8 of every .tflite, the FlatBuffers file identifier


def check_model_file(path: Path) -> None:
    """Raise BadModelFile unless `path` is a file that starts as a `.tflite` does."""
    if path.exists() and not path.is_file():
        raise bad_model_file(path, "is no file", "a folder" if path.is_dir() else "a pipe or device")
    try:
        with path.open("rb") as stream:
            start = stream.read(8)
    except OSError as error:
        raise bad_model_file(path, "cannot be read", error.strerror) from error
    if not start:
        raise bad_model_file(path, "is empty", "0 bytes")
    if start[4:] != _IDENTIFIER:
        raise bad_model_file(path, "is no .tflite file", f"a file that starts with {start!r}")


def bad_model_file(path: Path, what: str, received: object) -> BadModelFile:
    return BadModelFile(
        f"{path} {what}",
        received=received,
        expected=f"a .tflite file, which has {_IDENTIFIER.decode()} as bytes 4 to 8",
        fix="give the path of a .tflite file, or build it again",
    )
