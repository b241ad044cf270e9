"""What pools need beside their pods: Volcano queues and scheduler settings, GPU sharing, and caches of weights."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from compiler.diagnostics import Diagnostic, error
from compiler.emit.cache import cache_object, cached, filler
from compiler.emit.object import Object, Owner, Wave, metadata
from compiler.emit.placement import GPU, SHARED_GPU, VGPU, gpu_resource
from compiler.fleet import Fleet, Model, Pool, PoolStrategy, SharingMode, slug
from compiler.kept import Kept
from compiler.quantity import bytes_text, cores_text
from compiler.yaml_text import yaml_text

_VOLCANO, _SCHEDULER = "volcano-system", "volcano-scheduler-configmap"
"""Where Volcano's scheduler reads its settings, as its own manifests have it."""
_DEVICE_PLUGIN, _CONFIGS = "nvidia-device-plugin", "turnout-device-plugin"
"""The namespace of NVIDIA's device plugin in its documentation, and what its chart's `config.name` is to say."""
_CUT = {SharingMode.TIME_SLICING: "timeSlicing", SharingMode.MPS: "mps"}


def objects(fleet: Fleet, kept: Kept) -> Iterator[Object]:
    yield from kept.chained(_queue, fleet.pools)
    yield from kept.of(_of_all, fleet.pools)
    yield from kept.chained(_caches, fleet.models)


def diagnostics(fleet: Fleet, kept: Kept) -> Iterator[Diagnostic]:
    return iter(kept.chained(_cannot_be_kept, fleet.models))


def _cannot_be_kept(model: Model) -> tuple[Diagnostic, ...]:
    """P307 for weights that the engine's image cannot copy."""
    return tuple(
        error(
            "P307",
            version.origin,
            f"{version.engine.framework} has no preloadToShm from {version.engine.model_path.scheme}://",
            "pvc://, oci:// or host://",
        )
        for version in model.versions
        if version.cold_start.preload and not filler(version)
    )


def _caches(model: Model) -> tuple[Object, ...]:
    # Also what Flagger moves a model away from: its primary runs that until the other is promoted.
    pools = ((version, cached(model, version)) for version in model.versions)
    return tuple(cache_object(model, version, pool) for version, pool in pools if pool is not None)


def _queue(pool: Pool) -> tuple[Object, ...]:
    if pool.queue is None:
        return ()
    capability = {
        "cpu": cores_text(sum(node.cpu for node in pool.nodes)),
        "memory": bytes_text(sum(node.memory for node in pool.nodes)),
        # Never more than there is of it: a Queue has no overcommitRatio, and it is the shares that are counted.
        gpu_resource(pool): str(pool.sharing.of_all(pool.gpus)),
    }
    body = {
        "apiVersion": "scheduling.volcano.sh/v1beta1",
        "kind": "Queue",
        "metadata": metadata(slug(pool.name), _owner(pool), pool.origin, Wave.FOUNDATION),
        "spec": {
            "weight": pool.queue.weight,
            "reclaimable": pool.queue.reclaimable,
            "capability": dict(sorted(capability.items())),
        },
    }
    return (Object(f"pools/{slug(pool.name)}.yaml", body, pool.origin),)


def _owner(pool: Pool) -> Owner:
    return Owner(slug(pool.name), None, pool.labels, pool.annotations)


def _of_all(pools: tuple[Pool, ...]) -> tuple[Object, ...]:
    return (*_device_plugin(pools), *_scheduler(pools))


def _device_plugin(pools: tuple[Pool, ...]) -> Iterator[Object]:
    """One configuration for each pool whose GPUs are cut; a node takes the one that its label names."""
    cut = [pool for pool in pools if pool.sharing.mode in (*_CUT, SharingMode.MIG)]
    if not cut:
        return
    # `default` is what the chart gives to nodes without the label.
    data = {"default": {"version": "v1"}, **{slug(pool.name): _sharing(pool) for pool in cut}}
    yield _settings(_CONFIGS, _DEVICE_PLUGIN, "platform/device-plugin.yaml", data, cut[0])


def _sharing(pool: Pool) -> dict[str, Any]:
    if pool.sharing.mode is SharingMode.MIG:
        # All slices of a node are alike, are called nvidia.com/gpu, and have a product of their own.
        return {"version": "v1", "flags": {"migStrategy": "single"}}
    shares = {
        "renameByDefault": True,
        # Two shares may be of one GPU, and are no more of it than one.
        "failRequestsGreaterThanOne": True,
        "resources": [{"name": GPU, "replicas": pool.sharing.shares}],
    }
    return {"version": "v1", "sharing": {_CUT[pool.sharing.mode]: shares}}


def _scheduler(pools: tuple[Pool, ...]) -> Iterator[Object]:
    """Volcano's settings, only where GPUs are shared: without that, its own are right."""
    shared = [pool for pool in pools if pool.queue and pool.sharing.mode in (*_CUT, SharingMode.VGPU)]
    if not shared:
        return
    plugins = [
        # It lets so many times the cluster's resources into the queues, to wait there; it places nothing, and gives no
        # GPU twice. Shares do that. Volcano's own is 1.2 times.
        # https://github.com/volcano-sh/volcano/blob/master/pkg/scheduler/plugins/overcommit/overcommit.go
        _plugin("overcommit", {"overcommit-factor": float(max(pool.sharing.overcommit_ratio for pool in shared))}),
        {"name": "drf", "enablePreemptable": False},
        {"name": "predicates"},
        {"name": "proportion"},
        {"name": "nodeorder"},
        *_packing(shared),
        *_vgpu(shared),
    ]
    first = [{"name": "priority"}, {"name": "gang", "enablePreemptable": False}, {"name": "conformance"}]
    settings = {
        "actions": "enqueue, allocate, preempt, reclaim, backfill",
        "tiers": [{"plugins": first}, {"plugins": plugins}],
    }
    data = {"volcano-scheduler.conf": settings}
    yield _settings(_SCHEDULER, _VOLCANO, "platform/volcano-scheduler.yaml", data, shared[0])


def _packing(shared: list[Pool]) -> Iterator[dict[str, Any]]:
    if any(pool.strategy is not PoolStrategy.SPREAD for pool in shared):
        weights = {f"binpack.resources.{name}": 10 for name in (GPU, SHARED_GPU, VGPU)}
        names = {"binpack.resources": ", ".join((GPU, SHARED_GPU, VGPU))}
        yield _plugin("binpack", {"binpack.weight": 10, **names, **weights})


def _vgpu(shared: list[Pool]) -> Iterator[dict[str, Any]]:
    parts = [pool for pool in shared if pool.sharing.mode is SharingMode.VGPU]
    if parts:
        policy = "spread" if all(pool.strategy is PoolStrategy.SPREAD for pool in parts) else "binpack"
        yield _plugin("deviceshare", {"deviceshare.VGPUEnable": True, "deviceshare.SchedulePolicy": policy})


def _plugin(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "arguments": arguments}


def _settings(name: str, namespace: str, file: str, data: dict[str, Any], pool: Pool) -> Object:
    """Of all pools together; `pool` is the first that asks for them, and its line their origin."""
    owner = Owner("platform", namespace, (), ())
    body = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(name, owner, pool.origin, Wave.FOUNDATION),
        "data": {key: yaml_text(value) for key, value in data.items()},
    }
    return Object(file, body, pool.origin)
