"""The policy a model has in the end: every default that depends on other values, filled in.

The fleet is built from it, and `turnout show` prints it, so the two cannot differ.
"""

from __future__ import annotations

from compiler.catalogue import HEALTH_PATHS, IMAGES, Gpu
from compiler.fleet import Framework
from compiler.kinds.inference_model import (
    AutoscalingSpec,
    ConfigSpec,
    EndpointSpec,
    InferenceModelSpec,
    MetricSpec,
    ResourcesSpec,
)
from compiler.kinds.traffic import ConnectionPoolSpec

GIB = 2**30
_DTYPES = {"fp16": "float16", "bf16": "bfloat16", "fp32": "float32"}


def effective(
    spec: InferenceModelSpec, gpu: Gpu, standbys: int, endpoints: tuple[EndpointSpec, ...]
) -> InferenceModelSpec:
    """`spec` of one version with nothing left to default.

    `standbys` are the version's, and `endpoints` those of the model that belong to it.
    """
    framework = Framework(spec.framework)
    replicas, scaling = active_replicas(spec), spec.autoscaling
    most = max(replicas, scaling.max_replicas or 0) if scaling and scaling.enabled else replicas
    instances = max(most + standbys, len(endpoints), 1)
    traffic = spec.traffic
    health_check = traffic.health_check
    path = HEALTH_PATHS[framework] if health_check.path is None else health_check.path
    return spec.model_copy(
        update={
            "version": spec.version or "1",
            "image": spec.image or IMAGES[framework],
            "model_path": spec.model_path or f"hf://{spec.model_name}",
            "replicas": replicas,
            "autoscaling": scaling and _autoscaling(scaling, replicas, spec.config.max_batch_size),
            "resources": _resources(spec.resources, gpu),
            "config": _config(spec.config, spec.resources.gpu_count),
            "endpoints": endpoints,
            "traffic": traffic.model_copy(
                update={
                    "health_check": health_check.model_copy(update={"path": path}),
                    "connection_pool": _pool(traffic.connection_pool, spec.config.max_batch_size, instances),
                }
            ),
        }
    )


def active_replicas(spec: InferenceModelSpec) -> int:
    """Those that a version of this spec begins with, standbys apart."""
    if spec.replicas is not None:
        return spec.replicas
    scaling = spec.autoscaling
    return 1 if scaling is None or scaling.min_replicas is None else scaling.min_replicas


def _autoscaling(spec: AutoscalingSpec, replicas: int, batch: int) -> AutoscalingSpec:
    """Beyond a full batch requests wait, and another instance takes a while to load: it is asked for before that."""
    least = replicas if spec.min_replicas is None else spec.min_replicas
    metrics = spec.metrics or (MetricSpec(name="running_requests", target=batch * 3 / 4),)
    return spec.model_copy(update={"min_replicas": least, "metrics": metrics})


def _resources(spec: ResourcesSpec, gpu: Gpu) -> ResourcesSpec:
    each = max(spec.gpu_count, 1)
    return spec.model_copy(
        update={
            "gpu_memory": spec.gpu_count * gpu.memory_gib * GIB if spec.gpu_memory is None else spec.gpu_memory,
            "cpu": 8000 * each if spec.cpu is None else spec.cpu,
            "memory": 32 * GIB * each if spec.memory is None else spec.memory,
        }
    )


def _config(spec: ConfigSpec, gpu_count: int) -> ConfigSpec:
    each = max(gpu_count, 1)
    return spec.model_copy(
        update={
            "tensor_parallel": each if spec.tensor_parallel is None else spec.tensor_parallel,
            "dtype": _DTYPES.get(spec.dtype, spec.dtype),
            "shm": 8 * GIB * each if spec.shm is None else spec.shm,
        }
    )


def _pool(spec: ConnectionPoolSpec, batch: int, instances: int) -> ConnectionPoolSpec:
    """Engines speak HTTP/1.1, one request a connection: what all instances can work on at a time is the limit."""
    capacity = batch * instances
    pending = spec.http1_max_pending_requests
    return spec.model_copy(
        update={
            "max_connections": capacity if spec.max_connections is None else spec.max_connections,
            "http1_max_pending_requests": batch if pending is None else pending,
            "http2_max_requests": capacity if spec.http2_max_requests is None else spec.http2_max_requests,
        }
    )
