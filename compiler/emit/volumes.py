"""Where an instance finds its weights, and its shared memory."""

from __future__ import annotations

from typing import Any

from compiler.catalogue import fetched
from compiler.fleet import Engine, ModelPath, Scheme, Version
from compiler.quantity import bytes_text

MOUNT = "/models"
"""Where weights stand that the engine does not fetch itself."""


def weights_argument(path: ModelPath, *, files_only: bool = False) -> str:
    """What the engine is told to load: an id, a URI it fetches itself, or a path under the mount.

    `files_only`: it does not know object stores, so they have been copied.
    """
    match path.scheme:
        case Scheme.HF:
            return path.location
        case Scheme.S3 | Scheme.GS if not files_only:
            return f"{path.scheme}://{path.location}"
        case Scheme.PVC:
            _, _, inside = path.location.partition("/")
            return f"{MOUNT}/{inside}".rstrip("/")
        case _:
            return MOUNT


def volumes(version: Version) -> list[dict[str, Any]]:
    return [*_weights(version.engine), *_shared_memory(version.resources.shm)]


def volume_mounts(version: Version) -> list[dict[str, Any]]:
    mounts: list[dict[str, Any]] = []
    if _weights(version.engine):
        mounts.append({"name": "weights", "mountPath": MOUNT, "readOnly": True})
    if version.resources.shm:
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})
    return mounts


def _weights(engine: Engine) -> list[dict[str, Any]]:
    path = engine.model_path
    match path.scheme:
        case Scheme.PVC:
            claim, _, _ = path.location.partition("/")
            source: dict[str, Any] = {"persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
        case Scheme.OCI:
            source = {"image": {"reference": path.location, "pullPolicy": "IfNotPresent"}}
        case Scheme.HOST:
            source = {"hostPath": {"path": path.location, "type": "Directory"}}
        case scheme if fetched(engine.framework, scheme):
            source = {"emptyDir": {}}
        case _:
            return []
    return [{"name": "weights", **source}]


def _shared_memory(size: int) -> list[dict[str, Any]]:
    # The container runtime gives 64 MiB of /dev/shm; tensor-parallel workers exchange through it and need more.
    return [{"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": bytes_text(size)}}] if size else []
