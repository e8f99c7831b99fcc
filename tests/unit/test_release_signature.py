"""Signatures of releases: made by the library, read without it; nothing but the very files passes."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import shlex
import socket
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from pipeline.errors import EnvironmentUnsuited, ReleaseRefused
from pipeline.release import signature
from pipeline.release.manifest import SIGNATURE
from pipeline.release.signature import load_signing_key, sign, signed_hashes, verify_signature
from tests.release_folders import write_release

PASSWORD = "correct horse"


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch):
    for name in ("RELEASE_SIGNING_KEY", "RELEASE_SIGNING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*arguments: object) -> None:
        raise AssertionError(f"the network was touched: {arguments}")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)


def write_key(folder: Path, key: Any = None, name: str = "release-key", password: str = "") -> tuple[Path, Path]:
    """Write a key pair; return the paths of the private and of the public key."""
    key = key or ec.generate_private_key(ec.SECP256R1())
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    encryption = BestAvailableEncryption(password.encode()) if password else NoEncryption()
    private.touch(mode=0o600)
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def signed(tmp_path) -> tuple[Path, Path, Path]:
    """A signed folder, the private and the public key."""
    folder = write_release(tmp_path / "releases")
    private, public = write_key(tmp_path)
    sign(folder, load_signing_key(str(private)))
    return folder, private, public


def refusal(action: Callable[[], object]) -> str:
    with pytest.raises(ReleaseRefused) as caught:
        action()
    assert caught.value.received
    assert caught.value.expected
    assert caught.value.fix
    return str(caught.value)


def test_a_signed_folder_verifies_and_tells_its_hashes(signed):
    folder, _, public = signed
    verify_signature(folder, public)
    paths = [path for path in folder.iterdir() if path.name != SIGNATURE]
    assert signed_hashes((folder / SIGNATURE).read_bytes(), public) == {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths
    }
    assert len(paths) == 7


def test_the_library_that_signs_verifies_the_same_folder(signed):
    from model_signing.verifying import Config

    folder, _, public = signed
    Config().use_elliptic_key_verifier(public_key=public).verify(folder, folder / SIGNATURE)


def test_nothing_but_the_signature_is_left_out(signed):
    folder, _, _ = signed
    envelope = json.loads((folder / SIGNATURE).read_bytes())["dsseEnvelope"]
    statement = json.loads(base64.b64decode(envelope["payload"]))
    assert statement["predicate"]["serialization"]["ignore_paths"] == [SIGNATURE]


def test_two_signatures_are_refused(signed):
    """Only one would be looked at."""
    folder, _, public = signed
    bundle = json.loads((folder / SIGNATURE).read_bytes())
    bundle["dsseEnvelope"]["signatures"] *= 2
    assert "cannot be used" in refusal(lambda: signed_hashes(json.dumps(bundle).encode(), public))


def test_a_moved_folder_verifies(signed, tmp_path):
    folder, _, public = signed
    verify_signature(folder.rename(tmp_path / "elsewhere"), public)


def test_signing_again_covers_the_files_as_they_are_then(signed):
    folder, private, public = signed
    (folder / "MODEL_CARD.md").write_text("another")
    (folder / f".{SIGNATURE}.4711").write_text("of a signing that was killed")
    sign(folder, load_signing_key(str(private)))
    verify_signature(folder, public)


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_every_curve_of_model_signatures(tmp_path, curve):
    folder = write_release(tmp_path / "releases")
    private, public = write_key(tmp_path, ec.generate_private_key(curve))
    sign(folder, load_signing_key(str(private)))
    verify_signature(folder, public)


@pytest.mark.parametrize("name", ["MODEL_CARD.md", "SHA256SUMS", "manifest.json", "mnist-mobile-1.2.0.tflite"])
def test_an_altered_byte_is_noticed_in_any_file(signed, name):
    folder, _, public = signed
    content = bytearray((folder / name).read_bytes())
    content[-1] ^= 1
    (folder / name).write_bytes(content)
    assert name in refusal(lambda: verify_signature(folder, public))


@pytest.mark.parametrize("name", ["extra.tflite", ".gitattributes", ".gitignore", f".{SIGNATURE}.1"])
def test_an_added_file_is_noticed_whatever_its_name(signed, name):
    folder, _, public = signed
    (folder / name).write_text("added")
    assert name in refusal(lambda: verify_signature(folder, public))


def test_an_added_folder_is_noticed(signed):
    folder, _, public = signed
    (folder / ".git").mkdir()
    assert ".git" in refusal(lambda: verify_signature(folder, public))


def test_a_removed_file_is_noticed(signed):
    folder, _, public = signed
    (folder / "MODEL_CARD.md").unlink()
    assert "lacks" in refusal(lambda: verify_signature(folder, public))


def test_two_files_that_change_places_are_noticed(signed):
    folder, _, public = signed
    first, second = (folder / f"mnist-{target}-1.2.0.tflite" for target in ("mobile", "browser"))
    first.rename(folder / "x")
    second.rename(first)
    (folder / "x").rename(second)
    assert first.name in refusal(lambda: verify_signature(folder, public))


def test_a_symbolic_link_is_refused_though_its_content_is_the_same(signed, tmp_path):
    folder, private, public = signed
    card = folder / "MODEL_CARD.md"
    card.rename(tmp_path / "card")
    card.symlink_to(tmp_path / "card")
    assert "symbolic link" in refusal(lambda: verify_signature(folder, public))
    assert "symbolic link" in refusal(lambda: sign(folder, load_signing_key(str(private))))


def test_a_linked_signature_is_refused(signed, tmp_path):
    folder, _, public = signed
    (folder / SIGNATURE).rename(tmp_path / "sig")
    (folder / SIGNATURE).symlink_to(tmp_path / "sig")
    assert "symbolic link" in refusal(lambda: verify_signature(folder, public))


def test_a_folder_without_signature_and_no_folder(signed, tmp_path):
    folder, _, public = signed
    (folder / SIGNATURE).unlink()
    assert "not signed" in refusal(lambda: verify_signature(folder, public))
    assert "no folder" in refusal(lambda: verify_signature(tmp_path / "none", public))


def test_another_key_of_the_same_kind_is_refused(signed, tmp_path):
    folder, _, _ = signed
    _, other = write_key(tmp_path, name="other")
    assert "another key" in refusal(lambda: verify_signature(folder, other))


def test_another_key_is_refused_though_the_bundle_names_it(signed, tmp_path):
    """The fingerprint in the bundle is not signed: whoever alters it gains nothing."""
    folder, _, _ = signed
    private, other = write_key(tmp_path, name="other")
    bundle = json.loads((folder / SIGNATURE).read_bytes())
    bundle["verificationMaterial"]["publicKey"]["hint"] = load_signing_key(str(private)).fingerprint
    assert "did not sign" in refusal(lambda: signed_hashes(json.dumps(bundle).encode(), other))


def test_an_altered_statement_is_refused(signed):
    folder, _, public = signed
    bundle = json.loads((folder / SIGNATURE).read_bytes())
    statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
    statement["predicate"]["resources"][0]["digest"] = "0" * 64
    bundle["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(statement).encode()).decode()
    assert "did not sign" in refusal(lambda: signed_hashes(json.dumps(bundle).encode(), public))


@pytest.mark.parametrize(
    "content",
    [b"", b"garbage", b"[]", b"{}", b"null", b"\xff\xfe", b"[" * 100_000, b'{"mediaType": 1e999}', b" " * 4_000_001],
    ids=range(9),
)
def test_garbage_is_no_signature(signed, content):
    folder, _, public = signed
    (folder / SIGNATURE).write_bytes(content)
    assert SIGNATURE in refusal(lambda: verify_signature(folder, public))


def test_every_part_of_the_bundle_is_needed_in_its_form(signed):
    """Replacing any one value by one of another kind, or leaving it out, ends in a refusal and in nothing else."""
    folder, _, public = signed
    bundle = json.loads((folder / SIGNATURE).read_bytes())

    def places(value: Any) -> list[tuple[Any, Any]]:
        keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
        return [place for key in keys for place in [(value, key), *places(value[key])]]

    unsigned = {"tlogEntries", "keyid", "hint", "publicKey", "verificationMaterial"}  # and decide nothing
    tried = 0
    for holder, key in places(bundle):
        kept = holder[key]
        for other in (None, 7, [], {}, "!"):
            holder[key] = other
            content = json.dumps(bundle).encode()
            if key in unsigned:
                with contextlib.suppress(ReleaseRefused):
                    signed_hashes(content, public)
                continue
            refusal(lambda content=content: signed_hashes(content, public))
            tried += 1
        holder[key] = kept
    assert tried >= 30
    signed_hashes(json.dumps(bundle).encode(), public)


def bundle_of(statement: object, key: ec.EllipticCurvePrivateKey, kind: str = signature.PAYLOAD_TYPE) -> bytes:
    """Sign any statement as DSSE has it."""
    payload = json.dumps(statement).encode()
    encoded = f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": kind,
        "signatures": [{"sig": base64.b64encode(key.sign(encoded, ec.ECDSA(hashes.SHA256()))).decode()}],
    }
    bundle = {"mediaType": signature.BUNDLE_TYPE, "verificationMaterial": {}, "dsseEnvelope": envelope}
    return json.dumps(bundle).encode()


def statement_of(*resources: tuple[str, str], root: str = "") -> dict[str, Any]:
    digests = b"".join(bytes.fromhex(digest) for _, digest in resources)
    rows = [{"name": name, "algorithm": "sha256", "digest": digest} for name, digest in resources]
    return {
        "_type": signature.STATEMENT_TYPE,
        "subject": [{"name": "x", "digest": {"sha256": root or hashlib.sha256(digests).hexdigest()}}],
        "predicateType": signature.PREDICATE_TYPE,
        "predicate": {"serialization": {"method": "files", "hash_type": "sha256"}, "resources": rows},
    }


ZEROS, ONES = "0" * 64, "1" * 64


def test_a_statement_written_by_hand_is_read(tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    _, public = write_key(tmp_path, key)
    assert signed_hashes(bundle_of(statement_of(("a", ZEROS), ("b", ONES)), key), public) == {"a": ZEROS, "b": ONES}


@pytest.mark.parametrize(
    "statement",
    [
        statement_of(),
        statement_of(("../a", ZEROS)),
        statement_of(("/etc/passwd", ZEROS)),
        statement_of(("folder/a", ZEROS)),
        statement_of((SIGNATURE, ZEROS)),
        statement_of(("a", ZEROS), ("a", ONES)),
        statement_of(("a", "00")),
        statement_of(("a", ZEROS), root=ONES),
        statement_of(*((f"f{index}", ZEROS) for index in range(1001))),
        statement_of(("a", ZEROS)) | {"_type": "https://in-toto.io/Statement/v0.1"},
        statement_of(("a", ZEROS)) | {"predicateType": "https://slsa.dev/provenance/v1"},
        statement_of(("a", ZEROS)) | {"subject": []},
        [],
        "text",
    ],
    ids=range(14),
)
def test_what_the_key_signed_must_still_be_a_release(tmp_path, statement):
    """A key signs other things too: no other statement passes for the hashes of a release."""
    key = ec.generate_private_key(ec.SECP256R1())
    _, public = write_key(tmp_path, key)
    assert "cannot be used" in refusal(lambda: signed_hashes(bundle_of(statement, key), public))


def test_another_type_of_payload_is_refused(tmp_path):
    key = ec.generate_private_key(ec.SECP256R1())
    _, public = write_key(tmp_path, key)
    content = bundle_of(statement_of(("a", ZEROS)), key, "text/plain")
    assert "text/plain" in refusal(lambda: signed_hashes(content, public))


def test_a_key_from_the_environment_signs_and_touches_no_file(tmp_path, monkeypatch):
    folder = write_release(tmp_path / "releases")
    private, public = write_key(tmp_path)
    monkeypatch.setenv("RELEASE_SIGNING_KEY", private.read_text())
    private.unlink()
    key = load_signing_key("")
    sign(folder, key)
    verify_signature(folder, public)
    assert key.notes == ()


def test_an_encrypted_key_needs_its_password(tmp_path, monkeypatch):
    private, public = write_key(tmp_path, password=PASSWORD)
    assert "RELEASE_SIGNING_PASSWORD" in refusal(lambda: load_signing_key(str(private)))
    monkeypatch.setenv("RELEASE_SIGNING_PASSWORD", "a wrong one")
    text = refusal(lambda: load_signing_key(str(private)))
    assert "cannot be decrypted" in text
    assert "a wrong one" not in text
    monkeypatch.setenv("RELEASE_SIGNING_PASSWORD", PASSWORD)
    folder = write_release(tmp_path / "releases")
    sign(folder, load_signing_key(str(private)))
    verify_signature(folder, public)


def test_a_password_that_is_not_needed_does_no_harm(tmp_path, monkeypatch):
    private, _ = write_key(tmp_path)
    monkeypatch.setenv("RELEASE_SIGNING_PASSWORD", PASSWORD)
    load_signing_key(str(private))


def test_without_a_key_the_commands_that_make_one_are_told_and_work(tmp_path, monkeypatch):
    text = refusal(lambda: load_signing_key(""))
    commands = re.findall(r"`(openssl [^`]+)`", text)
    assert len(commands) == 2
    make = [*shlex.split(commands[0]), "-pass", "env:RELEASE_SIGNING_PASSWORD"]
    read = [*shlex.split(commands[1]), "-passin", "env:RELEASE_SIGNING_PASSWORD"]
    monkeypatch.setenv("RELEASE_SIGNING_PASSWORD", PASSWORD)
    for command in (make, read):
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    folder = write_release(tmp_path / "releases")
    key = load_signing_key(str(tmp_path / "release-key.pem"))
    sign(folder, key)
    verify_signature(folder, tmp_path / "release-key.pub")
    assert key.notes == ()  # openssl leaves it to its owner alone


def test_a_key_that_others_may_read_gets_a_note(tmp_path):
    private, _ = write_key(tmp_path)
    private.chmod(0o644)
    (note,) = load_signing_key(str(private)).notes
    assert f"chmod 600 {private}" in note


def unusable_keys(folder: Path) -> dict[str, Path]:
    paths = {name: folder / name for name in ("absent", "empty", "garbage", "huge", "folder", "rsa", "ed25519", "p192")}
    for name, content in (("empty", b""), ("garbage", b"\0\xff"), ("huge", b"-" * 70_000)):
        paths[name].write_bytes(content)
    paths["folder"].mkdir()
    for name, key in (
        ("rsa", rsa.generate_private_key(65537, 1024)),
        ("ed25519", ed25519.Ed25519PrivateKey.generate()),
        ("p192", ec.generate_private_key(ec.SECP256K1())),
    ):
        paths[name], paths[f"{name} public"] = write_key(folder, key, name)
    return paths


def test_keys_that_cannot_sign_are_refused_early(tmp_path):
    paths = unusable_keys(tmp_path) | {"public": write_key(tmp_path)[1]}
    for name, path in paths.items():
        assert str(path) in refusal(lambda path=path: load_signing_key(str(path))), name


def test_keys_that_cannot_verify_are_refused(signed, tmp_path):
    folder, private, _ = signed
    paths = unusable_keys(tmp_path) | {"private": private}
    for name, path in paths.items():
        assert str(path) in refusal(lambda path=path: verify_signature(folder, path)), name
    assert "-pubout" in refusal(lambda: verify_signature(folder, private))


@pytest.fixture
def unreadable(tmp_path):
    """Give a key that the user of now cannot read; root, who reads everything, is another user meanwhile."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:  # tmp_path lies in a folder that is closed to others
        Path(name).chmod(0o755)
        private, _ = write_key(Path(name))
        sign(write_release(tmp_path / "releases"), load_signing_key(str(private)))  # imports what another may not
        private.chmod(0)
        user = os.geteuid()
        if user == 0:
            os.seteuid(65534)
        yield private
        os.seteuid(user)


def test_an_unreadable_key_is_refused(unreadable):
    with pytest.raises(PermissionError):
        unreadable.read_bytes()
    assert "cannot be read" in refusal(lambda: load_signing_key(str(unreadable)))


def test_no_text_of_a_key_is_told(tmp_path, monkeypatch, capfd):
    """A damaged key, an encrypted one, a good one: neither errors nor output nor the object show a part of it."""
    private, _ = write_key(tmp_path)
    text = private.read_text()
    told = repr(load_signing_key(str(private)))
    damaged = tmp_path / "damaged.pem"
    for content in (text.replace("PRIVATE", "OTHER"), text[:120], text.replace("MI", "M")):
        damaged.write_text(content)
        told += refusal(lambda: load_signing_key(str(damaged)))
        monkeypatch.setenv("RELEASE_SIGNING_KEY", content)
        told += refusal(lambda: load_signing_key(""))
    sign(write_release(tmp_path / "releases"), load_signing_key(str(private)))
    told += "".join(capfd.readouterr())
    body = "".join(text.splitlines()[1:-1])
    assert not [start for start in range(len(body) - 12) if body[start : start + 12] in told]


def test_a_signing_that_fails_leaves_the_former_signature(signed, monkeypatch):
    folder, private, public = signed
    before = (folder / SIGNATURE).read_bytes()

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space"):
        sign(folder, load_signing_key(str(private)))
    monkeypatch.undo()
    assert (folder / SIGNATURE).read_bytes() == before
    verify_signature(folder, public)


def test_a_missing_library_is_told_with_what_to_install(tmp_path, monkeypatch):
    private, _ = write_key(tmp_path)
    monkeypatch.setattr(signature.importlib.util, "find_spec", lambda name: None if name == "model_signing" else name)
    with pytest.raises(EnvironmentUnsuited, match=r"edge-deployment-pipeline\[release\]"):
        load_signing_key(str(private))


def test_no_byte_of_a_signature_may_be_another(signed):
    """Nobody signs the bundle around the envelope: it holds nothing that could be anything."""
    folder, _, public = signed
    sound = (folder / SIGNATURE).read_bytes()
    for place in range(len(sound)):
        altered = bytearray(sound)
        altered[place] ^= 1
        with pytest.raises(ReleaseRefused):
            signed_hashes(bytes(altered), public)
