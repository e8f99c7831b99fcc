"""The documents of a release in an OCI registry, as bytes that depend on the release alone.

https://github.com/opencontainers/image-spec/blob/v1.1.0/manifest.md (an artifact: `artifactType`, an empty config)
and https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md (referrers and their fallback tag).
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from typing import Any

from pipeline.errors import ReleaseRefused
from pipeline.release.manifest import CHECKSUMS, FILES_MAX, SIGNATURE, ReleaseManifest

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
INDEX_TYPE = "application/vnd.oci.image.index.v1+json"
ARTIFACT_TYPE = "application/vnd.edge-deployment-pipeline.release.v1"
SIGNATURE_TYPE = "application/vnd.dev.sigstore.bundle.v0.3+json"
EMPTY = b"{}"
TITLE = "org.opencontainers.image.title"
VERSION = "org.opencontainers.image.version"
CREATED = "org.opencontainers.image.created"
_MEDIA_TYPES = {".json": "application/json", ".md": "text/markdown", ".txt": "text/plain", ".py": "text/x-python"}
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class Blob:
    """Bytes as a registry names them."""

    digest: str  # sha256:<64 hexadecimal digits>
    size: int  # bytes


@dataclass(frozen=True)
class StoredRelease:
    """A release manifest that was read from a registry."""

    digest: str
    version: str  # what its annotation says
    files: dict[str, Blob]  # by name

    @property
    def identity(self) -> str:
        """The digest of its SHA256SUMS, which names the release's bytes; "" where it has none."""
        return self.files[CHECKSUMS].digest if CHECKSUMS in self.files else ""


def blob_of(content: bytes) -> Blob:
    return Blob("sha256:" + hashlib.sha256(content).hexdigest(), len(content))


def release_manifest(manifest: ReleaseManifest, files: dict[str, Blob]) -> bytes:
    """Return the image manifest of a release: each file a layer with its name as title."""
    annotations = {
        CREATED: manifest.created,
        "org.opencontainers.image.revision": manifest.commit,
        TITLE: manifest.workload,
        VERSION: manifest.version,
    }
    layers = [_layer(name, files[name]) for name in sorted(files)]
    return _image_manifest(ARTIFACT_TYPE, layers, annotations)


def signature_manifest(manifest: ReleaseManifest, signature: Blob, subject: bytes) -> bytes:
    """Return the manifest that attaches the signature to the release manifest `subject`."""
    return _image_manifest(
        SIGNATURE_TYPE, [_layer(SIGNATURE, signature)], {CREATED: manifest.created}, _descriptor(subject)
    )


def referrers_index(existing: bytes | None, referrer: bytes) -> bytes:
    """Return the index of what refers to a manifest, with `referrer` in it; others in `existing` stay.

    Raises ValueError where `existing` is no index.
    """
    others = json.loads(existing).get("manifests", []) if existing else []
    if not isinstance(others, list):
        raise ValueError("no list of manifests")
    described = json.loads(referrer)
    entry = _descriptor(referrer) | {
        "artifactType": described["artifactType"],
        "annotations": described["annotations"],
    }
    kept = [other for other in others if other.get("digest") != entry["digest"]]
    return _encoded({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": [*kept, entry]})


def fallback_tag(subject: str) -> str:
    """Return the tag that lists the referrers of a digest, where the registry does not."""
    return subject.replace(":", "-")


def read_release(content: bytes, where: str) -> StoredRelease:
    """Return the release that a manifest describes. Raises ReleaseRefused where it is none of ours."""
    try:
        document = json.loads(content)
        if document.get("artifactType") != ARTIFACT_TYPE:
            raise ValueError(f"artifactType {str(document.get('artifactType'))[:100]!r}")
        layers = document["layers"]
        files = {layer["annotations"][TITLE]: Blob(layer["digest"], layer["size"]) for layer in layers}
        version = document["annotations"][VERSION]
        sound = all(
            isinstance(name, str)
            and isinstance(blob.size, int)
            and blob.size >= 0
            and isinstance(blob.digest, str)
            and _DIGEST.fullmatch(blob.digest)
            for name, blob in files.items()
        )
        if not sound or not isinstance(version, str) or len(files) != len(layers) or len(files) > FILES_MAX + 10:
            raise ValueError("layers of which not each has a title of its own, a SHA-256 digest and a size")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ReleaseRefused(
            f"{where} is not a release of this pipeline",
            received=f"{type(error).__name__}: {str(error)[:200]}",
            expected=f"an OCI 1.1 image manifest with artifactType {ARTIFACT_TYPE}",
            fix="check the URL; use another repository or tag",
        ) from error
    return StoredRelease(blob_of(content).digest, version, files)


def _image_manifest(
    artifact_type: str, layers: list[dict[str, Any]], annotations: dict[str, str], subject: dict | None = None
) -> bytes:
    empty = blob_of(EMPTY)
    document: dict[str, Any] = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "artifactType": artifact_type,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json", "digest": empty.digest, "size": empty.size},
        "layers": layers,
    }
    if subject:
        document["subject"] = subject
    return _encoded(document | {"annotations": annotations})


def _layer(name: str, blob: Blob) -> dict[str, Any]:
    suffix = "." + name.rpartition(".")[2]
    media_type = SIGNATURE_TYPE if name == SIGNATURE else _MEDIA_TYPES.get(suffix, "application/octet-stream")
    return {"mediaType": media_type, "digest": blob.digest, "size": blob.size, "annotations": {TITLE: name}}


def _descriptor(manifest: bytes) -> dict[str, Any]:
    blob = blob_of(manifest)
    return {"mediaType": MANIFEST_TYPE, "digest": blob.digest, "size": blob.size}


def _encoded(document: dict[str, Any]) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
