"""A signed release as `invoke release` writes it, of no real model: for tests of what believes or refuses it."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from pipeline.release.assemble import assemble
from pipeline.release.collect import Collected, file_of
from pipeline.release.signature import load_signing_key
from tests.release_facts import VERSION, build_document, release_facts, released_target


def key_pair(folder: Path, name: str = "release") -> tuple[Path, Path]:
    """Write a new key pair; return the paths of the private and of the public key."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.touch(mode=0o600)
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


def signed_release(parent: Path, private: Path, version: str = VERSION, *, salt: str = "") -> Path:
    """Write the release `parent/<version>/` of the targets mobile and browser, signed; return its folder.

    `salt` makes other bytes of the same version.
    """
    collected = [_collected(target, version, salt) for target in ("mobile", "browser")]
    facts = replace(
        release_facts(*(one.row for one in collected)),
        version=version,
        builds={one.row.target: one.build for one in collected},
    )
    place = parent / version
    assemble(facts, collected, place, load_signing_key(str(private)), accepted_inconclusive=False)
    return place


def _collected(target: str, version: str, salt: str) -> Collected:
    stem = f"mnist-{target}-{version}"
    content = f"the bytes of {stem}{salt}".encode() * 20
    named = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "size_bytes": len(content),
        "model": f"{stem}.tflite",
    }
    row = released_target(target, **named)
    build = build_document(row)
    contents: dict[str, bytes | Path] = {
        f"{stem}.tflite": content,
        f"{stem}.build.json": build.model_dump_json(indent=2).encode(),
        f"{stem}.labels.txt": b"0\n1\n",
    }
    roles = ("model", "build", "labels")
    files = [file_of(name, role, contents[name]) for name, role in zip(contents, roles, strict=True)]
    return Collected(row.model_copy(update={"files": files}), build, contents)
