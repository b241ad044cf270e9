"""The pod template of one tier of a model's version: one container, the engine."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from compiler.catalogue import LIVENESS_PATHS, SLEEPING_ENGINES, fetched
from compiler.emit.cache import as_loaded
from compiler.emit.durations import whole_seconds
from compiler.emit.engines import launch
from compiler.emit.fetch import init_containers
from compiler.emit.hub import hub_token
from compiler.emit.names import (
    CONTAINER_PORT,
    app_labels,
    failover_labels,
    model_owner,
    priority_class,
    tier_labels,
    version_annotations,
    weights_labels,
)
from compiler.emit.placement import GPU, gpu_request, in_pool, pool_annotations, pool_labels, zones_of
from compiler.emit.scrape import scrape_annotations, scrape_labels
from compiler.emit.spread import spread
from compiler.emit.volumes import volume_mounts, volumes
from compiler.fleet import Engine, Model, Tier, Version, asleep_memory, copied_size, slug
from compiler.quantity import bytes_text, cores_text

_STARTUP_PERIOD = timedelta(seconds=5)
_PATIENCE = 5
"""Seconds a probe that restarts an instance waits for an answer, however short the policy's own timeout is."""
_PRE_STOP = timedelta(seconds=15)
_LEAST_GRACE = _PRE_STOP + timedelta(seconds=30)
_MOST_GRACE = timedelta(seconds=600)


def pod_template(model: Model, version: Version, tier: Tier) -> dict[str, Any]:
    """Owner's labels stay off it: a new cost-centre label must not restart every instance."""
    version = as_loaded(model, version)
    return {
        "metadata": {
            "labels": dict(sorted(_labels(model, version, tier).items())),
            "annotations": dict(
                sorted((scrape_annotations(version) | version_annotations(version) | pool_annotations(model)).items())
            ),
        },
        "spec": _pod_spec(model, version, tier),
    }


def start_budget(version: Version) -> timedelta:
    """How long an instance may load: a quarter more than it should take."""
    return _STARTUP_PERIOD * _startup_failures(version)


def _labels(model: Model, version: Version, tier: Tier) -> dict[str, str]:
    return {
        "app.kubernetes.io/managed-by": "turnout",
        "app.kubernetes.io/part-of": model_owner(model).slug,
        **app_labels(model),
        # Flagger's own metrics are those that Istio's proxy beside each instance tells.
        **({"sidecar.istio.io/inject": "true"} if model.is_flaggers else {}),
        **tier_labels(model, version, tier),
        **scrape_labels(version),
        **failover_labels(tier),
        **pool_labels(model, version),
        **weights_labels(version),
    }


def _pod_spec(model: Model, version: Version, tier: Tier) -> dict[str, Any]:
    spec: dict[str, Any] = {
        "serviceAccountName": slug(model.name),
        "automountServiceAccountToken": False,
        # Kubernetes' variables for a Service called `vllm` would be read as vLLM's own: VLLM_PORT=tcp://…
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _grace_period(model) // timedelta(seconds=1),
        # The images run as root and write caches into their own file system: neither is forbidden here.
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "priorityClassName": priority_class(model.priority),
        **in_pool(_placement(model, version, tier), model, version, tier),
        "topologySpreadConstraints": spread(tier_labels(model, version, tier), strictly=version.has_standbys),
        **({"initContainers": fetching} if (fetching := init_containers(version)) else {}),
        "containers": [_container(model, version, tier)],
    }
    mounted = volumes(version)
    return {**spec, "volumes": mounted} if mounted else spec


def _placement(model: Model, version: Version, tier: Tier) -> dict[str, Any]:
    placement: dict[str, Any] = {}
    if version.resources.gpu_count:
        placement["nodeSelector"] = {"nvidia.com/gpu.product": version.resources.gpu_product}
        placement["tolerations"] = [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
    zones = zones_of(model, tier)
    if zones:
        term = {"matchExpressions": [{"key": "topology.kubernetes.io/zone", "operator": "In", "values": list(zones)}]}
        required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
        placement["affinity"] = {"nodeAffinity": required}
    return placement


def _container(model: Model, version: Version, tier: Tier) -> dict[str, Any]:
    started = launch(model, version, tier)
    container: dict[str, Any] = {"name": "engine", "image": version.engine.image}
    if started.command:
        container["command"] = list(started.command)
    container |= {
        "args": list(started.args),
        **hub_token(version.engine.model_path),
        "ports": [{"name": "http", "containerPort": CONTAINER_PORT}],
        "resources": _resources(model, version, tier),
        **_probes(version),
        # Endpoints are withdrawn while it sleeps; only then the engine is told to stop.
        "lifecycle": {"preStop": {"sleep": {"seconds": _PRE_STOP // timedelta(seconds=1)}}},
        "securityContext": {"allowPrivilegeEscalation": False},
    }
    mounts = volume_mounts(version)
    return {**container, "volumeMounts": mounts} if mounts else container


def _resources(model: Model, version: Version, tier: Tier) -> dict[str, Any]:
    resources, sleeps = version.resources, tier is Tier.WARM and version.engine.framework in SLEEPING_ENGINES
    # /dev/shm is charged to the container, and so are the weights of one that sleeps.
    memory = bytes_text(resources.memory + resources.shm + (asleep_memory(version.engine) if sleeps else 0))
    gpus = gpu_request(model.pool, resources)
    # No CPU limit: a throttled engine leaves its GPUs idle between steps, and idle cores are nobody's gain.
    return {
        "requests": {"cpu": cores_text(resources.cpu), "memory": memory, **_disk(version.engine), **gpus},
        "limits": {"memory": memory, **gpus},
    }


def _disk(engine: Engine) -> dict[str, str]:
    """For weights that are copied, which count to the pod for as long as it is there.

    Without, a node is taken that has no room, and when its disk fills up, a pod over its request goes first.
    There is no limit, nor a sizeLimit: what goes over one is evicted at once, and the size is only what a name says.
    https://kubernetes.io/docs/concepts/scheduling-eviction/node-pressure-eviction
    """
    size = copied_size(engine) if fetched(engine.framework, engine.model_path.scheme) else 0
    return {"ephemeral-storage": bytes_text(size)} if size else {}


def _probes(version: Version) -> dict[str, Any]:
    check = version.health_check
    ready = _asked(check.path)
    return {
        "startupProbe": {
            **ready,
            "periodSeconds": whole_seconds(_STARTUP_PERIOD),
            "timeoutSeconds": _PATIENCE,
            "failureThreshold": _startup_failures(version),
        },
        "readinessProbe": {
            **ready,
            "periodSeconds": whole_seconds(check.interval),
            "timeoutSeconds": whole_seconds(check.timeout),
            "successThreshold": check.success_threshold,
            "failureThreshold": check.failure_threshold,
        },
        # Not what policy asks: an instance that is not ready gets no requests, and need not be dead.
        "livenessProbe": {
            **_asked(LIVENESS_PATHS[version.engine.framework]),
            "periodSeconds": 10,
            "timeoutSeconds": _PATIENCE,
            "failureThreshold": 6,
        },
    }


def _asked(path: str) -> dict[str, Any]:
    return {"httpGet": {"path": path, "port": "http"}}


def _startup_failures(version: Version) -> int:
    return max(1, -(-(version.cold_start.cold * 5) // (_STARTUP_PERIOD * 4)))


def _grace_period(model: Model) -> timedelta:
    return max(_LEAST_GRACE, min(model.timeouts.stream_total, _MOST_GRACE))
