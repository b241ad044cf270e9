"""Weights from an object store for engines that read files alone: another container copies them before they start.

It acts as the model's ServiceAccount, so that is what the store must let read.
"""

from __future__ import annotations

from typing import Any

from compiler.catalogue import FETCHERS, fetched
from compiler.emit.volumes import MOUNT
from compiler.fleet import Scheme, Version

_MEMORY = "2Gi"
"""Copies in parts, several at a time; what it writes to the node's disk is not its own."""


def init_containers(version: Version) -> list[dict[str, Any]]:
    path = version.engine.model_path
    if not fetched(version.engine.framework, path.scheme):
        return []
    copy = _COPY[path.scheme]
    return [
        {
            "name": "fetch",
            "image": FETCHERS[path.scheme],
            "command": list(copy),
            # Begun again after a restart, both leave what is there already.
            "args": [f"{path.scheme}://{path.location}", MOUNT],
            "resources": {"requests": {"cpu": "1", "memory": _MEMORY}, "limits": {"memory": _MEMORY}},
            "securityContext": {"allowPrivilegeEscalation": False},
            "volumeMounts": [{"name": "weights", "mountPath": MOUNT}],
        }
    ]


_COPY = {
    Scheme.S3: ("aws", "s3", "sync", "--no-progress"),
    Scheme.GS: ("gcloud", "storage", "rsync", "--recursive"),
}
