"""The signature of a release: OpenSSF model signing with a key, `model.sig` in the folder, over all other files.

`model.sig` is a Sigstore bundle (https://docs.sigstore.dev/about/bundle/) whose DSSE envelope
(https://github.com/secure-systems-lab/dsse/blob/v1.0.0/protocol.md) holds an in-toto statement with the SHA-256 of
every file (https://github.com/ossf/model-signing-spec). It is written by `model-signing`, whose own command verifies
it as well: `model_signing verify key FOLDER --signature FOLDER/model.sig --public_key KEY`.

Here it is read without that library, by `cryptography` alone: a few files of a release can be trusted before the
others are there, `.gitattributes` and its like are no exception to "every file", and it takes a tenth of the time.
No network is touched. No text of a key leaves this module.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import importlib.util
import json
import os
import stat
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import EnvironmentUnsuited, ReleaseRefused
from pipeline.files import sha256_of, write_whole
from pipeline.release.manifest import FILES_MAX, SIGNATURE, is_file_name

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey

KEY_VARIABLE, PASSWORD_VARIABLE = "RELEASE_SIGNING_KEY", "RELEASE_SIGNING_PASSWORD"
SIGNATURE_BYTES_MAX = 4_000_000
KEY_BYTES_MAX = 64_000  # a pipe takes so many at once
BUNDLE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"
# The curves of model-signing, with the hash that goes with each.
_HASHES = {"secp256r1": "SHA256", "secp384r1": "SHA384", "secp521r1": "SHA512"}
_MAKE_KEY = (
    "make one with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -out release-key.pem` "
    f"(without -aes256 it has no password; with it, {PASSWORD_VARIABLE} holds the password), and its public key with "
    "`openssl pkey -in release-key.pem -pubout -out release-key.pub`"
)
_PUBLIC_KEY_OF = "`openssl pkey -in release-key.pem -pubout -out release-key.pub` gives the public key of a private one"


@dataclass(frozen=True)
class SigningKey:
    """A private key that can sign."""

    private: EllipticCurvePrivateKey = field(repr=False)
    notes: tuple[str, ...] = ()  # what its owner should know, such as that others may read it

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the public key's PEM: what the bundle names the key by."""
        return _fingerprint(self.private.public_key())


def load_signing_key(path: str) -> SigningKey:
    """Return the private key of a PEM file, or with "" the one that RELEASE_SIGNING_KEY holds.

    The password of an encrypted one is in RELEASE_SIGNING_PASSWORD. Raises ReleaseRefused where it cannot sign.
    """
    _require("cryptography", "model_signing")
    where = f"--key={path}" if path else KEY_VARIABLE
    notes: tuple[str, ...] = ()
    if path:
        pem = _read_key(Path(path), where, _MAKE_KEY)
        if os.name == "posix" and stat.S_IMODE(Path(path).stat().st_mode) & 0o077:
            notes = (f"others may read {path}: chmod 600 {path}",)
    else:
        pem = os.fsencode(os.environ.get(KEY_VARIABLE, ""))
        if not pem.strip():
            raise _refused(
                "a release is signed, and there is no key for it",
                f"no --key=FILE, and {KEY_VARIABLE} is not set",
                "the private key as a PEM file, or its text in that variable",
                _MAKE_KEY,
            )
    return SigningKey(_private_key(pem, where), notes)


def sign(folder: Path, key: SigningKey) -> None:
    """Write `model.sig` into the folder, over all other files. Raises ReleaseRefused for what is no flat folder."""
    for leftover in folder.glob(f".{SIGNATURE}.*"):  # of a signing that was killed
        leftover.unlink()
    _files(folder)
    from model_signing import hashing, signing

    ignored = hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)
    with tempfile.TemporaryDirectory() as working, _as_file(key) as private_key:
        made = Path(working) / SIGNATURE
        signer = signing.Config().use_elliptic_key_signer(private_key=private_key)
        signer.set_hashing_config(ignored).sign(folder, made)
        write_whole(folder / SIGNATURE, made.read_bytes())


def verify_signature(folder: Path, public_key: Path) -> None:
    """Raise ReleaseRefused unless the key signed the files of the folder: each as it is, none less, none more."""
    files = _files(folder)
    try:
        with (folder / SIGNATURE).open("rb") as stream:
            content = stream.read(SIGNATURE_BYTES_MAX + 1)
    except FileNotFoundError as error:
        raise _untrusted(f"{folder} is not signed", f"no {SIGNATURE}") from error
    signed = signed_hashes(content, public_key)
    if missing := sorted(set(signed) - set(files)):
        raise _untrusted(f"{folder} lacks files that were signed", ", ".join(missing[:10]))
    if added := sorted(set(files) - set(signed)):
        raise _untrusted(f"{folder} holds files that were not signed", ", ".join(added[:10]))
    if altered := [name for name in sorted(signed) if sha256_of(files[name]) != signed[name]]:
        raise _untrusted(f"{folder} holds files other than those that were signed", ", ".join(altered[:10]))


def refuse_signed_otherwise(folder: Path, key: SigningKey) -> None:
    """Raise ReleaseRefused unless the folder's files are as this very key signed them."""
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    with tempfile.TemporaryDirectory() as working:
        public = Path(working) / "release.pub"
        public.write_bytes(key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
        try:
            verify_signature(folder, public)
        except ReleaseRefused as error:
            raise _refused(
                f"{folder} was not signed by this key as it is",
                error.received,
                "the files of an earlier run, signed by the key that is given",
                f"give the key that signed it; or remove {folder}, and run invoke release again",
            ) from error


def signed_hashes(signature: bytes, public_key: Path) -> dict[str, str]:
    """Return {file name: SHA-256} that the key signed. `signature` is the content of `model.sig`.

    Raises ReleaseRefused for another key, and for anything that is no such signature.
    """
    key = _public_key(public_key)
    if len(signature) > SIGNATURE_BYTES_MAX:
        raise _untrusted(f"{SIGNATURE} is too long", f"more than {SIGNATURE_BYTES_MAX:,} bytes")
    try:
        payload = _verified_payload(signature, key, public_key)
        return _hashes(json.loads(payload))
    # RecursionError: brackets nested by the thousand.
    except (ValueError, KeyError, TypeError, IndexError, AttributeError, RecursionError, binascii.Error) as error:
        raise _untrusted(f"{SIGNATURE} cannot be used", f"{type(error).__name__}: {error}"[:300]) from error


def _verified_payload(signature: bytes, key: EllipticCurvePublicKey, where: Path) -> bytes:
    """Return the envelope's payload, whose signature holds. Raises ValueError and the like for another form."""
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    bundle = json.loads(signature)
    _only(bundle, "mediaType", "verificationMaterial", "dsseEnvelope")
    _expect(bundle["mediaType"], BUNDLE_TYPE)
    envelope, material = bundle["dsseEnvelope"], bundle["verificationMaterial"]
    _only(envelope, "payload", "payloadType", "signatures")
    _expect(envelope["payloadType"], PAYLOAD_TYPE)
    (signed_by,) = envelope["signatures"]
    _only(signed_by, "sig", "keyid")
    _expect(signed_by.get("keyid", ""), "")
    _only(material, "publicKey", "tlogEntries")
    _expect(material.get("tlogEntries", []), [])
    payload = _from_base64(envelope["payload"])
    named = material.get("publicKey", {})
    _only(named, "hint")
    hint = named.get("hint")
    if hint and hint != _fingerprint(key):  # nobody signed the hint: it only words the error
        raise _untrusted(f"the signature is of another key than {where}", f"the key with the fingerprint {hint}"[:120])
    # DSSE's pre-authentication encoding: the lengths keep a signed text from being read as another one.
    signed = b"DSSEv1 %d %s %d %s" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
    algorithm = ec.ECDSA(getattr(hashes, _HASHES[key.curve.name])())
    try:
        key.verify(_from_base64(signed_by["sig"]), signed, algorithm)
    except InvalidSignature as error:
        raise _untrusted(f"the key {where} did not sign this", "a signature that does not hold") from error
    return payload


def _hashes(statement: dict[str, Any]) -> dict[str, str]:
    """Return {file name: SHA-256} of a statement that the key signed. Raises ValueError for another form."""
    _expect(statement["_type"], STATEMENT_TYPE)
    _expect(statement["predicateType"], PREDICATE_TYPE)
    predicate = statement["predicate"]
    _expect((predicate["serialization"]["method"], predicate["serialization"]["hash_type"]), ("files", "sha256"))
    resources = predicate["resources"]
    found: dict[str, str] = {}
    for resource in resources:
        _expect(resource["algorithm"], "sha256")
        _expect(len(bytes.fromhex(resource["digest"])), hashlib.sha256().digest_size)
        if not is_file_name(resource["name"]) or resource["name"] == SIGNATURE:
            raise ValueError(f"{resource['name']!r} is no plain file name")
        found[resource["name"]] = resource["digest"].lower()
    if len(found) != len(resources) or not 0 < len(found) <= FILES_MAX:
        raise ValueError(f"1 to {FILES_MAX} files, each named once, are expected")
    root = hashlib.sha256(b"".join(bytes.fromhex(resource["digest"]) for resource in resources)).hexdigest()
    _expect([subject["digest"] for subject in statement["subject"]], [{"sha256": root}])
    return found


def _expect(received: object, expected: object) -> None:
    if received != expected:
        raise ValueError(f"{received!r:.100} where {expected!r} is expected")


def _only(found: dict[str, Any], *known: str) -> None:
    """Raise ValueError for fields that nobody signed and nobody knows: no byte of a bundle may be whatever it likes."""
    _expect(sorted(found.keys() - set(known)), [])


def _from_base64(text: str) -> bytes:
    """Return what base64 says in its one canonical form. Raises ValueError for any other."""
    content = base64.b64decode(text, validate=True)
    _expect(text, base64.b64encode(content).decode())
    return content


def _files(folder: Path) -> dict[str, Path]:
    """Return the files that a signature is over, by name. Raises ReleaseRefused for anything but plain files."""
    if folder.is_symlink() or not folder.is_dir():
        raise _untrusted(f"{folder} is no folder of a release", "a symbolic link, a file or nothing")
    found = {}
    for path in sorted(folder.iterdir()):
        if not stat.S_ISREG(path.lstat().st_mode):
            kind = "a symbolic link" if path.is_symlink() else "a folder" if path.is_dir() else "no regular file"
            raise _untrusted(f"{folder} is not the flat folder of a release", f"{path.name!r}, {kind}")
        if not is_file_name(path.name):
            raise _untrusted(f"{folder} holds a file that no release has", repr(path.name)[:120])
        if path.name != SIGNATURE:
            found[path.name] = path
    return found


def _private_key(pem: bytes, where: str) -> EllipticCurvePrivateKey:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    expected = "a private key in PEM of the curve P-256, P-384 or P-521"
    password = os.fsencode(os.environ.get(PASSWORD_VARIABLE, "")) or None
    try:
        key = load_pem_private_key(pem, None)
    except TypeError:  # an encrypted one; a password that a key does not need does no harm
        if password is None:
            raise _refused(
                f"{where}: the key is encrypted",
                f"no password in {PASSWORD_VARIABLE}",
                "its password in that variable",
                f"read -rs {PASSWORD_VARIABLE} && export {PASSWORD_VARIABLE}",
            ) from None
        try:
            key = load_pem_private_key(pem, password)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            raise _refused(
                f"{where}: the key cannot be decrypted",
                f"another password in {PASSWORD_VARIABLE}, or a damaged key",
                "the password that the key was encrypted with",
                f"set {PASSWORD_VARIABLE} to it",
            ) from None
    # Without the cause, whose text may quote the key's.
    except (ValueError, UnsupportedAlgorithm):
        kind = "a public key" if b"PUBLIC KEY" in pem else "a text that is none, or damaged"
        raise _refused(f"{where} is no private key", kind, expected, _MAKE_KEY) from None
    if not isinstance(key, EllipticCurvePrivateKey) or key.curve.name not in _HASHES:
        kind = getattr(getattr(key, "curve", None), "name", type(key).__name__)
        raise _refused(f"{where} is a key that model signatures are not made with", kind, expected, _MAKE_KEY)
    return key


def _public_key(path: Path) -> EllipticCurvePublicKey:
    _require("cryptography")
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    expected = "the publisher's public key in PEM, of the curve P-256, P-384 or P-521"
    where = f"--key={path}"
    pem = _read_key(path, where, f"get it from the publisher; {_PUBLIC_KEY_OF}")
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        kind = "a private key" if b"PRIVATE KEY" in pem else "a text that is none, or damaged"
        raise _refused(f"{where} is no public key", kind, expected, _PUBLIC_KEY_OF) from None
    if not isinstance(key, EllipticCurvePublicKey) or key.curve.name not in _HASHES:
        kind = getattr(getattr(key, "curve", None), "name", type(key).__name__)
        raise _refused(f"{where} is a key that model signatures are not made with", kind, expected, _PUBLIC_KEY_OF)
    return key


def _read_key(path: Path, where: str, fix: str) -> bytes:
    """Return a key file's content. Raises ReleaseRefused where there is none of a key's size."""
    try:
        with path.open("rb") as stream:
            content = stream.read(KEY_BYTES_MAX + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or "no path"
        raise _refused(f"{where} cannot be read", reason, "a file that holds the key in PEM", fix) from error
    if len(content) > KEY_BYTES_MAX:
        raise _refused(f"{where} is no key", "a file that is too long for one", "a key in PEM", fix)
    return content


@contextmanager
def _as_file(key: SigningKey) -> Iterator[str]:
    """Yield a path that gives the key's PEM once: model-signing reads files only, and a pipe leaves none behind."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem = key.private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    reading, writing = os.pipe()
    try:
        os.write(writing, pem)
        os.close(writing)
        yield f"/dev/fd/{reading}"
    finally:
        os.close(reading)


def _fingerprint(key: EllipticCurvePublicKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def _require(*modules: str) -> None:
    """Raise EnvironmentUnsuited unless the modules are installed; finding is quick where importing is not."""
    for module in modules:
        if importlib.util.find_spec(module) is None:
            raise EnvironmentUnsuited(
                f"signatures of releases need {module}, which is not installed",
                received="no such module",
                expected="the libraries of the extra 'release'",
                fix="pip install 'edge-deployment-pipeline[release]'",
            )


def _refused(message: str, received: str, expected: str, fix: str) -> ReleaseRefused:
    return ReleaseRefused(message, received=received, expected=expected, fix=fix)


def _untrusted(message: str, received: str) -> ReleaseRefused:
    return _refused(
        message,
        received,
        f"a flat folder of files, and a {SIGNATURE} that the key's owner made over all of them",
        "do not use these files: fetch them again from where they were published, and ask the publisher for the key",
    )
