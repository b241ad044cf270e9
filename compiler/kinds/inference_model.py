"""InferenceModel: one model, its versions, what its instances need and how requests travel to them."""

from __future__ import annotations

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from compiler.kinds.traffic import TrafficSpec
from compiler.kinds.values import (
    Address,
    Bytes,
    Cores,
    Count,
    Duration,
    Image,
    Metadata,
    ModelPathText,
    Name,
    Part,
    Percent,
    Port,
    Positive,
    Shape,
    Text,
    later,
)


class ResourcesSpec(Part):
    """Of one instance."""

    gpu_type: Text = "a100-80g"
    """From the GPU catalogue (Platform.gpuCatalogue adds to it)."""
    gpu_count: Annotated[int, Field(ge=0, le=16)] = 1
    gpu_memory: Bytes | None = None
    """A total, only checked. Default: gpuCount x the catalogue's."""
    cpu: Cores | None = None
    """Default: 8 for each GPU, 8 without one."""
    memory: Annotated[Bytes, Field(ge=1)] | None = None
    """Without /dev/shm. Default: 32Gi for each GPU, 32Gi without one."""


class ConfigSpec(Part):
    parameters: Annotated[str, Shape(r"^[0-9]+(\.[0-9]+)?[MBT]\Z", "no size: a number and M, B or T", "7B")] | None = (
        later("Size, `7B`, where modelName does not say it; for the memory proof.")
    )
    max_seq_len: Annotated[int, Field(ge=1, le=2**24)] = 4096
    """Tokens of prompt and answer together."""
    max_batch_size: Annotated[int, Field(ge=1, le=65536)] = 64
    """Sequences an instance works on at a time."""
    tensor_parallel: Annotated[int, Field(ge=1, le=16)] | None = None
    """Default: gpuCount."""
    quantization: Literal["none", "awq", "gptq", "fp8", "int8", "int4"] = "none"
    dtype: Literal["auto", "float16", "bfloat16", "float32", "fp16", "bf16", "fp32"] = "auto"
    """fp16, bf16 and fp32 are read as the long names."""
    gpu_memory_utilization: Annotated[float, Field(ge=0.1, le=1)] = 0.9
    shm: Bytes | None = None
    """/dev/shm, added to the memory limit. Default: 8Gi for each GPU, 8Gi without one."""
    extra_args: tuple[Text, ...] = ()
    """Passed to the engine last."""


class ColdStartSpec(Part):
    warm: Positive | None = later("Load time from host memory (S90: 30s); for the recovery proof.")
    cold: Positive = timedelta(seconds=300)
    """Load time from storage; the start-up probe allows a quarter more."""
    preload_to_shm: bool | None = later("Keeps the weights in the node's shared memory (S117).")


class MetricSpec(Part):
    name: Literal["qps", "latency", "gpu_utilization", "queue_length", "running_requests", "kv_usage"]
    target: Annotated[float, Field(gt=0)]


class ScaleSpec(Part):
    stabilization_window: Duration = timedelta(seconds=60)
    pods: Annotated[int, Field(ge=1)] = 1
    period: Positive = timedelta(seconds=60)


class AutoscalingSpec(Part):
    enabled: bool = True
    min_replicas: Count | None = None
    max_replicas: Annotated[int, Field(ge=1, le=1000)] | None = None
    metrics: tuple[MetricSpec, ...] = ()
    scale_up: ScaleSpec | None = None
    scale_down: ScaleSpec | None = None


class ExpectedQpsSpec(Part):
    typical: Annotated[float, Field(ge=0)] | None = None
    min: Annotated[float, Field(ge=0)] | None = None


class EndpointSpec(Part):
    """An instance given by hand, for the embedded mode; never rendered."""

    address: Address
    port: Port
    zone: Name | None = None
    tier: Literal["active", "hot", "warm", "cold"] = "active"
    version: Text | None = None
    """Required on a model with several versions."""
    weight: Annotated[int, Field(ge=1, le=1000)] = 1


class WorkloadSpec(Part):
    """What runs: for a model, each of its versions, and `Platform.defaults`."""

    framework: Literal["vllm", "sglang", "tgi", "triton", "tensorrt-llm"] = "vllm"
    image: Image | None = None
    """Pinned by tag or digest. Default: one for each framework."""
    model_path: ModelPathText | None = None
    """Where the weights lie. Default: `hf://<modelName>`."""
    replicas: Count = 1
    """Active instances; standbys (DisasterRecovery) come on top."""
    resources: ResourcesSpec = ResourcesSpec()
    config: ConfigSpec = ConfigSpec()
    cold_start: ColdStartSpec = ColdStartSpec()
    autoscaling: AutoscalingSpec | None = later("Replicas by load (S40, S106).")


class DefaultsSpec(WorkloadSpec):
    """The part of an InferenceModel that `Platform.defaults` may set for all."""

    type: Literal["llm", "embedding", "multimodal", "specialized"] = "llm"
    pool: Name | None = later("The GPU pool it runs in.")
    tenant: Name | None = later("For whom alone it runs.")
    capabilities: tuple[Name, ...] | None = later("What requests may ask for (S25).")
    expected_qps: ExpectedQpsSpec | None = later("Requests a second of the whole model, for proofs.")
    traffic: TrafficSpec = TrafficSpec()


class VersionSpec(Part):
    """One of several versions. It inherits the model's spec; what stands here wins."""

    name: Name
    weight: Percent | None = None
    """Share of the model's requests; all versions sum to 100. One version alone may leave it out."""
    model_name: Text | None = None
    framework: Literal["vllm", "sglang", "tgi", "triton", "tensorrt-llm"] | None = None
    image: Image | None = None
    model_path: ModelPathText | None = None
    replicas: Count | None = None
    resources: ResourcesSpec | None = None
    config: ConfigSpec | None = None
    autoscaling: AutoscalingSpec | None = later("Replicas by load (S40, S106).")
    cold_start: ColdStartSpec | None = None
    endpoints: tuple[EndpointSpec, ...] | None = None


class InferenceModelSpec(DefaultsSpec):
    model_name: Text
    """The weights' id, as their publisher writes it. Never a label (B16)."""
    aliases: tuple[Name, ...] = ()
    """Further names for clients."""
    version: Name | None = None
    """Of a model with one version. Default: "1"."""
    versions: Annotated[tuple[VersionSpec, ...], Field(min_length=1)] | None = None
    """Several versions of one public name, with weights."""
    endpoints: tuple[EndpointSpec, ...] = ()


class InferenceModel(Part):
    """One model that clients can ask for. `metadata.name` and `modelName` are enough."""

    api_version: Literal["turnout.dev/v1"]
    kind: Literal["InferenceModel"]
    metadata: Metadata
    spec: InferenceModelSpec
