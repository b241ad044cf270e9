"""Fleets for tests, with the values that policy's defaults give."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from compiler.diagnostics import Position
from compiler.fleet import (
    Carrier,
    ColdStart,
    ConnectionPool,
    Endpoint,
    Engine,
    Fleet,
    Framework,
    Gateway,
    HashAlgorithm,
    HealthCheck,
    Host,
    LengthUnit,
    Listener,
    LoadBalancing,
    Model,
    ModelPath,
    Orchestrator,
    OutlierDetection,
    Protocol,
    Quantization,
    Resources,
    Retries,
    Scheme,
    SlowStart,
    Strategy,
    Target,
    Tenant,
    Tier,
    Timeouts,
    Version,
    Zones,
)

ORIGIN = Position("policies/test.yaml", 1, 1)
MI = 2**20


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def endpoint(port: int, tier: Tier = Tier.ACTIVE, zone: str = "", weight: int = 1) -> Endpoint:
    return Endpoint(address="127.0.0.1", port=port, zone=zone, tier=tier, weight=weight)


SOMEWHERE = (endpoint(9000),)
"""Where nobody asks: without an endpoint a version is not ready."""


def version(name: str = "1", weight: int = 100, endpoints: tuple[Endpoint, ...] = SOMEWHERE, **changes: Any) -> Version:
    values: dict[str, Any] = {
        "name": name,
        "weight": weight,
        "model_name": "org/weights",
        "engine": Engine(
            framework=Framework.VLLM,
            image="vllm/vllm-openai:v0.11.0",
            model_path=ModelPath(Scheme.HF, "org/weights"),
            max_seq_len=4096,
            max_batch_size=64,
            tensor_parallel=1,
            quantization=Quantization.NONE,
            dtype="auto",
            gpu_memory_utilization=0.9,
            extra_args=(),
        ),
        "resources": Resources("NVIDIA-A100-SXM4-80GB", 1, 8000, 32 * 2**30, 8 * 2**30),
        "cold_start": ColdStart(seconds(300)),
        "replicas": 1,
        "hot": 0,
        "warm": 0,
        "cold": 0,
        "health_check": HealthCheck("/health", seconds(10), seconds(5), 3, 2),
        "endpoints": endpoints,
        "connection_pool": ConnectionPool(64, 64, 64, 0, seconds(1)),
        "origin": ORIGIN,
    }
    return Version(**values | changes)


def model(name: str, versions: tuple[Version, ...] = (), **changes: Any) -> Model:
    values: dict[str, Any] = {
        "name": name,
        "namespace": "ai-inference",
        "aliases": (),
        "served_names": (name,),
        "type": "llm",
        "versions": versions or (version(),),
        "zones": Zones((), None),
        "load_balancing": LoadBalancing(
            Strategy.LEAST_CONNECTIONS, None, HashAlgorithm.MAGLEV, SlowStart(seconds(0), 10)
        ),
        "outlier_detection": OutlierDetection(5, seconds(10), seconds(60), 100),
        "retries": Retries(
            3, ("connect-failure", "refused-stream", "reset"), (500, 502, 503), timedelta(milliseconds=25)
        ),
        "timeouts": Timeouts(seconds(60), seconds(300), seconds(3600), seconds(300)),
        "labels": (),
        "annotations": (),
        "origin": ORIGIN,
    }
    return Model(**values | changes)


def gateway(models: tuple[str, ...], **changes: Any) -> Gateway:
    values: dict[str, Any] = {
        "name": "default",
        "namespace": "ai-inference",
        "hosts": (Host("*", Carrier.ENVOY),),
        "listeners": (Listener(8080, Protocol.HTTP, None),),
        "models": tuple(sorted(models)),
        "orchestrator": None,
        "max_request_bytes": 4 * MI,
        "labels": (),
        "annotations": (),
        "origin": ORIGIN,
    }
    return Gateway(**values | changes)


def orchestrator(name: str, *targets: tuple[str, int]) -> Orchestrator:
    return Orchestrator(
        name, (), LengthUnit.CHARACTERS, tuple(Target(model, weight) for model, weight in targets), ORIGIN
    )


def tenant(name: str) -> Tenant:
    return Tenant(name, f"ai-inference-{name}", None, labels=(), annotations=(), origin=ORIGIN)


def fleet(
    *models: Model, gateways: tuple[Gateway, ...] = (), tenants: tuple[Tenant, ...] = (), **changes: Any
) -> Fleet:
    """With one gateway for all of `models`, changed by `changes`, unless `gateways` are given."""
    names = tuple(model.name for model in models)
    return Fleet(
        models=tuple(sorted(models, key=lambda model: model.name)),
        gateways=gateways or (gateway(names, **changes),),
        tenants=tenants,
    )
