"""Weights in the memory of a pool's nodes: who fills it, and how instances find it.

A DaemonSet for each version that asks for it copies the weights into a hostPath in the nodes' shared memory. The kernel
charges those pages to the container that wrote them, so that container asks for their size, stays, and takes them away
when it ends: what is in the cache is paid for as long as it is there. Instances mount the finished folder read-only,
and the kubelet starts none before it is there.
https://docs.kernel.org/admin-guide/cgroup-v2.html#memory-ownership
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from compiler.emit.hub import hub_token
from compiler.emit.names import (
    model_labels,
    model_owner,
    priority_class,
    service_name,
    version_annotations,
    weights_labels,
)
from compiler.emit.object import Object, Wave, metadata
from compiler.emit.placement import GPU, nodes_for, on_nodes, spot_tolerations
from compiler.emit.volumes import volumes, weights_argument
from compiler.fleet import FILLER_CPU, Framework, Model, ModelPath, Pool, Scheme, Tier, Version, kept_memory, slug
from compiler.quantity import bytes_text, cores_text

# KILL, for a child of the shell that has just been forked loses a TERM: the shell would wait for its whole hour.
_FILL = """\
set -eu
clear() { rm -rf /cache/weights /cache/partial; }
clear
mkdir -p /cache/partial
"$@" & trap 'kill -KILL "$!" 2>/dev/null && wait "$!" || true; clear; exit 0' TERM INT
wait "$!"
mv /cache/partial /cache/weights
while :; do sleep 3600 & wait "$!"; done
"""
_FROM_HUB = """\
import sys
from huggingface_hub import snapshot_download
snapshot_download(sys.argv[1], local_dir="/cache/partial")
"""
_FROM_BUCKET = """\
import os, sys
from runai_model_streamer import pull_files
pull_files(sys.argv[1], "/cache/partial", None, None)
os.listdir("/cache/partial") or sys.exit("nothing at " + sys.argv[1])
"""
_WITH_HUB = (Framework.VLLM, Framework.SGLANG, Framework.TENSORRT_LLM)
"""Engines whose images have huggingface_hub where python3 finds it."""


def filler(version: Version) -> tuple[str, ...]:
    """The command that copies the weights to /cache/partial, from the engine's own image; empty where that has none."""
    path, framework = version.engine.model_path, version.engine.framework
    match path.scheme:
        case Scheme.HF if framework in _WITH_HUB:
            return ("python3", "-c", _FROM_HUB, path.location)
        case Scheme.S3 | Scheme.GS if framework is Framework.VLLM:
            return ("python3", "-c", _FROM_BUCKET, f"{path.scheme}://{path.location}")
        case Scheme.PVC | Scheme.OCI | Scheme.HOST:
            return ("cp", "-rL", f"{weights_argument(path)}/.", "/cache/partial")
        case _:
            return ()


def cached(model: Model, version: Version) -> Pool | None:
    """The pool that keeps the version's weights."""
    pool = model.pool
    keeps = pool is not None and pool.shm_cache.size != 0 and version.cold_start.preload
    return pool if keeps and filler(version) else None


def as_loaded(model: Model, version: Version) -> Version:
    """`version` as its instances see it: with its weights where the cache has them, if it has."""
    pool = cached(model, version)
    if pool is None:
        return version
    path = ModelPath(Scheme.HOST, f"{_folder(model, version, pool)}/weights")
    return replace(version, engine=replace(version.engine, model_path=path))


def cache_object(model: Model, version: Version, pool: Pool) -> Object:
    name = f"{service_name(model, version)}-cache"
    labels = {"turnout.dev/cache": service_name(model, version)}
    body = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": metadata(
            name, model_owner(model), version.origin, Wave.STORAGE, labels, version_annotations(version)
        ),
        "spec": {
            "selector": {"matchLabels": labels},
            "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
            "template": {
                "metadata": {
                    # Not the version's: no Service must take it for an instance.
                    "labels": {
                        "app.kubernetes.io/managed-by": "turnout",
                        "app.kubernetes.io/part-of": slug(model.name),
                        "sidecar.istio.io/inject": "false",
                        **labels,
                        **model_labels(model),
                        **weights_labels(version),
                    },
                    "annotations": version_annotations(version),
                },
                "spec": _pod_spec(model, version, pool),
            },
        },
    }
    return Object(f"pools/{slug(pool.name)}.yaml", body, version.origin)


def _folder(model: Model, version: Version, pool: Pool) -> str:
    return f"{pool.shm_cache.path}/{model.namespace}/{service_name(model, version)}"


def _pod_spec(model: Model, version: Version, pool: Pool) -> dict[str, Any]:
    source = [volume for volume in volumes(version) if volume["name"] == "weights"]
    folder = {"path": _folder(model, version, pool), "type": "DirectoryOrCreate"}
    return {
        # The model's own: what may read its bucket may fill its cache.
        "serviceAccountName": slug(model.name),
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 60,
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        # Without one it would be the first that makes room for the very instances that wait for its weights.
        "priorityClassName": priority_class(model.priority),
        **_with_gpu(version),
        "tolerations": [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}, *spot_tolerations(pool, Tier)],
        "affinity": on_nodes({}, nodes_for(pool, model, version, Tier)),
        "containers": [_container(version, pool, bool(source))],
        "volumes": [{"name": "cache", "hostPath": folder}, *source],
    }


def _with_gpu(version: Version) -> dict[str, Any]:
    product = version.resources.gpu_product
    return {"nodeSelector": {"nvidia.com/gpu.product": product}} if version.resources.gpu_count else {}


def _container(version: Version, pool: Pool, mounted: bool) -> dict[str, Any]:
    memory = bytes_text(kept_memory(version.engine, pool.shm_cache))
    source = [{"name": "weights", "mountPath": "/models", "readOnly": True}] if mounted else []
    return {
        "name": "fill",
        "image": version.engine.image,
        "command": ["/bin/sh", "-c", _FILL, "fill"],
        "args": list(filler(version)),
        **hub_token(version.engine.model_path),
        "resources": {"requests": {"cpu": cores_text(FILLER_CPU), "memory": memory}, "limits": {"memory": memory}},
        "readinessProbe": {"exec": {"command": ["test", "-d", "/cache/weights"]}, "periodSeconds": 10},
        "securityContext": {"allowPrivilegeEscalation": False},
        "volumeMounts": [{"name": "cache", "mountPath": "/cache"}, *source],
    }
