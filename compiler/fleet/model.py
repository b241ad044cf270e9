"""A fleet's models: what is to run, where its instances are, and how requests to it travel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from functools import cached_property
from operator import attrgetter

from compiler.diagnostics import BUILT_IN, Position
from compiler.fleet.gateway import Gateway
from compiler.fleet.platform import BUILT_IN_PLATFORM, Platform
from compiler.fleet.pool import Pool
from compiler.fleet.rollout import Rollout, RolloutEngine
from compiler.fleet.scaling import Autoscaling
from compiler.fleet.tenant import Tenant
from compiler.fleet.traffic import (
    SAID,
    ConnectionPool,
    Fault,
    HealthCheck,
    LoadBalancing,
    Mirror,
    OutlierDetection,
    Retries,
    Timeouts,
)


class Framework(StrEnum):
    VLLM = "vllm"
    SGLANG = "sglang"
    TGI = "tgi"
    TRITON = "triton"
    TENSORRT_LLM = "tensorrt-llm"


class ModelType(StrEnum):
    LLM = "llm"
    EMBEDDING = "embedding"
    MULTIMODAL = "multimodal"
    SPECIALIZED = "specialized"


class Quantization(StrEnum):
    NONE = "none"
    AWQ = "awq"
    GPTQ = "gptq"
    FP8 = "fp8"
    INT8 = "int8"
    INT4 = "int4"


class Scheme(StrEnum):
    PVC = "pvc"
    S3 = "s3"
    GS = "gs"
    HF = "hf"
    OCI = "oci"
    HOST = "host"


class Tier(StrEnum):
    """How ready an instance is. The order is the order in which Envoy prefers them."""

    ACTIVE = "active"
    HOT = "hot"
    WARM = "warm"
    COLD = "cold"


class Priority(StrEnum):
    """Whose instances get GPUs when there are not enough for all; the first takes them from the others."""

    CRITICAL = "critical"
    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class ModelPath:
    """Where the weights lie."""

    scheme: Scheme
    location: str
    """What follows `://`: `bucket/key`, `claim/path`, `org/name`, an image, or an absolute path for `host`."""


@dataclass(frozen=True, slots=True)
class Engine:
    """The inference server of one instance and its arguments; engines read no variables of ours."""

    framework: Framework
    image: str
    """Pinned by tag or digest."""
    model_path: ModelPath
    max_seq_len: int
    """Tokens of prompt and answer together."""
    max_batch_size: int
    """Sequences that one instance works on at a time."""
    tensor_parallel: int
    quantization: Quantization
    dtype: str
    """auto, float16, bfloat16 or float32."""
    gpu_memory_utilization: float
    """Share of each GPU's memory that the engine may take, 0.1-1."""
    extra_args: tuple[str, ...]
    """Passed last, as they stand."""
    parameters: int | None = None
    """How many numbers the weights are; None where neither policy nor a name says it."""
    least_parameters: int | None = None
    """What is sure of them, for a name rounds; None where `parameters` is."""
    kv_per_token: int | None = None
    """Numbers that a token adds to the KV cache; None where the model's architecture is not known."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Of one instance."""

    gpu_product: str
    """The nodes' label `nvidia.com/gpu.product`, as GPU feature discovery writes it."""
    gpu_count: int
    cpu: int
    """Thousandths of a core."""
    memory: int
    """Bytes, without /dev/shm."""
    shm: int
    """Bytes of /dev/shm; they count to the container's memory limit."""
    gpu_memory_gib: int = 0
    """Of one GPU, as its maker counts; 0 where it is not known."""


@dataclass(frozen=True, slots=True)
class ColdStart:
    cold: timedelta
    """Load time from storage: what the start-up probe must allow."""
    preload: bool = False
    """Whether the pool keeps the weights in its nodes' memory, and the engine loads them from there."""


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An instance given by hand, for the embedded mode. Never rendered."""

    address: str
    """An IP address."""
    port: int
    zone: str
    """Empty where policy names none."""
    tier: Tier
    weight: int
    """Relative, from 1."""
    origin: Position = SAID


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a model: an Envoy cluster, and a Deployment for each of its tiers."""

    name: str
    weight: int
    """Share of the model's requests in percent points, 0-100; a model's versions sum to 100."""
    model_name: str
    """The weights' own id (`meta-llama/Llama-2-70b-chat-hf`); an annotation: a label takes no `/`."""
    engine: Engine
    resources: Resources
    cold_start: ColdStart
    replicas: int
    """Active instances; the fewest, where they are scaled."""
    hot: int
    """Standby instances that hold the model on their GPUs, beside the active ones."""
    warm: int
    """Standby instances with the weights in host memory."""
    cold: int
    """Standby instances that hold nothing yet."""
    endpoints: tuple[Endpoint, ...]
    health_check: HealthCheck
    connection_pool: ConnectionPool
    origin: Position
    autoscaling: Autoscaling | None = None
    """`None`: always `replicas`."""
    standby_origin: Position = BUILT_IN
    """Of the policy that asks for hot, warm and cold instances."""

    @property
    def most_active(self) -> int:
        """Active instances at the highest load."""
        return self.replicas if self.autoscaling is None else max(self.replicas, self.autoscaling.max_replicas)

    @property
    def has_standbys(self) -> bool:
        return self.hot + self.warm + self.cold > 0


@dataclass(frozen=True, slots=True)
class Zones:
    """Which zones a model's tiers run in. Empty `active`: all zones."""

    active: tuple[str, ...]
    standby: str | None
    """The zone of every standby tier when zones are active-passive."""


@dataclass(frozen=True, slots=True)
class Model:
    name: str
    namespace: str
    aliases: tuple[str, ...]
    """Further names by which clients may ask for it."""
    served_names: tuple[str, ...]
    """Every name a request that reaches the model may carry: name, aliases, orchestrators that choose it."""
    type: ModelType
    versions: tuple[Version, ...]
    """In policy order; at least one."""
    zones: Zones
    load_balancing: LoadBalancing
    outlier_detection: OutlierDetection
    retries: Retries
    timeouts: Timeouts
    labels: tuple[tuple[str, str], ...]
    """The owner's own, sorted; on every object of the model."""
    annotations: tuple[tuple[str, str], ...]
    origin: Position
    mirror: Mirror | None = None
    fault: Fault | None = None
    expected_qps: float | None = None
    """Requests a second on an ordinary day, all versions together."""
    pool: Pool | None = None
    """Where its instances run; None: wherever the cluster has such GPUs."""
    tenant: str | None = None
    """The name of the tenant for whom alone it runs."""
    rto: timedelta | None = None
    """Longest time without a healthy instance that is promised."""
    priority: Priority = Priority.NORMAL
    rollout: Rollout | None = None
    """What moves it from version to version, where something does."""

    @property
    def is_flaggers(self) -> bool:
        """Whether Flagger moves it: then one Deployment is the cluster's, and Services and shares are Flagger's."""
        return self.rollout is not None and self.rollout.engine is RolloutEngine.FLAGGER

    @property
    def deployed(self) -> tuple[Version, ...]:
        """Versions with workloads of their own: of what Flagger moves the one it is to get to, else all."""
        if self.rollout is None or not self.is_flaggers:
            return self.versions
        return tuple(version for version in self.versions if version.name == self.rollout.to_version)

    @property
    def heaviest(self) -> Version:
        """The version with most of the requests, the first of equals."""
        return max(self.versions, key=lambda version: version.weight)


def longest_context(model: Model) -> int:
    """Tokens of the version with the longest."""
    return max(version.engine.max_seq_len for version in model.versions)


def longest_of(models: Iterable[Model]) -> int:
    """Tokens of the model with the longest; 0 where there is none."""
    return max(map(longest_context, models), default=0)


@dataclass(frozen=True)
class Fleet:
    """Without slots, so that what many ask of it is worked out once."""

    models: tuple[Model, ...]
    """Sorted by name."""
    gateways: tuple[Gateway, ...]
    """Sorted by name; at least one: without a Gateway in policy there is `default`."""
    platform: Platform = BUILT_IN_PLATFORM
    tenants: tuple[Tenant, ...] = ()
    """Sorted by name."""
    pools: tuple[Pool, ...] = ()
    """Sorted by name."""

    @cached_property
    def by_name(self) -> Mapping[str, Model]:
        """The models, in order."""
        return dict(zip(map(attrgetter("name"), self.models), self.models, strict=True))

    @property
    def rollouts(self) -> tuple[Rollout, ...]:
        """Sorted by the models that they move."""
        return tuple(model.rollout for model in self.models if model.rollout is not None)
