"""InferenceModel: one model, its versions, what its instances need and how requests travel to them."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from compiler.kinds.engine_arguments import EngineArguments
from compiler.kinds.measures import Bytes, Cores, PositiveUpToADay, PositiveUpToHalfAnHour, UpToAnHour
from compiler.kinds.part import Document, Part, later
from compiler.kinds.traffic import TrafficSpec
from compiler.kinds.values import Address, Count, Image, ModelPathText, Name, Percent, Port, Shape, Text

WeightsId = Annotated[
    Text, Shape(r"^[A-Za-z0-9_./][!-~]*\Z", "no id: letters, digits and signs, no spaces", "org/name")
]


class ResourcesSpec(Part):
    """Of one instance."""

    gpu_type: Text = "a100-80g"
    """From the GPU catalogue (Platform.gpuCatalogue adds to it)."""
    gpu_count: Annotated[int, Field(ge=0, le=16)] = 1
    """GPUs of an instance, all on one node."""
    gpu_memory: Bytes | None = None
    """Of all the instance's GPUs together; only checked. Default: gpuCount x the catalogue's."""
    cpu: Cores | None = None
    """Cores: `8`, or `500m`. Default: 8 for each GPU, 8 without one."""
    memory: Annotated[Bytes, Field(ge=1)] | None = None
    """Without /dev/shm. Default: 32Gi for each GPU, 32Gi without one."""


class ConfigSpec(Part):
    parameters: Annotated[str, Shape(r"^[0-9]+(\.[0-9]+)?[MBT]\Z", "no size: a number and M, B or T", "7B")] | None = (
        None
    )
    """Size, `7B`, where neither modelName nor the model's own name says it; for sums of memory."""
    max_seq_len: Annotated[int, Field(ge=1, le=2**24)] = 4096
    """Tokens of prompt and answer together."""
    max_batch_size: Annotated[int, Field(ge=1, le=65536)] = 64
    """Sequences an instance works on at a time."""
    tensor_parallel: Annotated[int, Field(ge=1, le=16)] | None = None
    """GPUs that share each layer; divides gpuCount. Default: gpuCount."""
    quantization: Literal["none", "awq", "gptq", "fp8", "int8", "int4"] = "none"
    """How the weights are held. int4 means a checkpoint in awq or gptq."""
    dtype: Literal["auto", "float16", "bfloat16", "float32", "fp16", "bf16", "fp32"] = "auto"
    """Of weights and activations; auto is the checkpoint's own. fp16, bf16 and fp32 are read as the long names."""
    gpu_memory_utilization: Annotated[float, Field(ge=0.1, le=1)] = 0.9
    """Share of each GPU's memory that the engine may take, 0.1-1."""
    shm: Bytes | None = None
    """/dev/shm, added to the memory limit. Default: 8Gi for each GPU, 8Gi without one."""
    extra_args: EngineArguments = ()
    """Arguments for the engine that have no field here, passed last and as they stand. No secrets (P110)."""


class ColdStartSpec(Part):
    warm: PositiveUpToADay | None = later("Load time from host memory; for the recovery proof (30s).")
    cold: PositiveUpToADay = timedelta(seconds=300)
    """Load time from storage, at the worst; the start-up probe allows a quarter more."""
    preload_to_shm: bool = False
    """Keeps the weights in the memory of the pool's nodes (GPUPool.shmCache), and loads them from there."""


class MetricSpec(Part):
    name: Literal["qps", "latency", "gpu_utilization", "queue_length", "running_requests", "kv_usage"]
    """latency is the 95th percentile in milliseconds; utilization and usage are percent."""
    target: Annotated[float, Field(ge=0.001, le=1_000_000)]
    """For each instance; for latency, of all of a version's together."""


class ScaleUpSpec(Part):
    stabilization_window: UpToAnHour = timedelta(seconds=60)
    """How long a wish to scale must last."""
    pods: Annotated[int, Field(ge=1, le=1000)] = 2
    """Instances at a time."""
    period: PositiveUpToHalfAnHour = timedelta(seconds=60)
    """Between two steps."""


class ScaleDownSpec(Part):
    stabilization_window: UpToAnHour = timedelta(seconds=300)
    """How long a wish to scale must last."""
    pods: Annotated[int, Field(ge=1, le=1000)] = 1
    """Instances at a time."""
    period: PositiveUpToHalfAnHour = timedelta(seconds=120)
    """Between two steps."""


class AutoscalingSpec(Part):
    enabled: bool = True
    """false keeps the settings and does not scale."""
    min_replicas: Count | None = None
    """Fewest active instances. Default: replicas. 0 needs `Platform.autoscaler: keda`."""
    max_replicas: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Most active instances. Required where `enabled`."""
    metrics: tuple[MetricSpec, ...] = ()
    """What is measured; who asks for most instances decides. Default: running_requests at 3/4 of maxBatchSize."""
    scale_up: ScaleUpSpec = ScaleUpSpec.model_construct()
    """How fast instances are added."""
    scale_down: ScaleDownSpec = ScaleDownSpec.model_construct()
    """How fast instances are taken away."""


class ExpectedQpsSpec(Part):
    typical: Annotated[float, Field(ge=0)] | None = None
    """On an ordinary day: what a mirror of its requests costs."""
    min: Annotated[float, Field(ge=0)] | None = later("In the quietest hour: few requests show a fault late.")


class EndpointSpec(Part):
    """An instance given by hand, for the embedded mode; never rendered."""

    address: Address
    """An IP address."""
    port: Port
    """1-65535."""
    zone: Name | None = None
    """Where it runs, as DisasterRecovery names zones."""
    tier: Literal["active", "hot", "warm", "cold"] = "active"
    """Which instances are asked first: a tier gets requests when those before it are not well."""
    version: Text | None = None
    """Which version it runs. Required on a model with several."""
    weight: Annotated[int, Field(ge=1, le=1000)] = 1
    """Share of requests beside the other instances of its tier."""


class WorkloadSpec(Part):
    """What runs: for a model, each of its versions, and `Platform.defaults`."""

    framework: Literal["vllm", "sglang", "tgi", "triton", "tensorrt-llm"] = "vllm"
    """The engine. It decides the image, the arguments and the health path."""
    image: Image | None = None
    """Pinned by tag or digest. Default: a release of the framework's own."""
    model_path: ModelPathText | None = None
    """Where the weights lie. Default: `hf://<modelName>`."""
    replicas: Count | None = None
    """Active instances; standbys (DisasterRecovery) come on top. Default: autoscaling.minReplicas, else 1."""
    resources: ResourcesSpec = ResourcesSpec.model_construct()
    """What one instance gets of its node."""
    config: ConfigSpec = ConfigSpec.model_construct()
    """The engine's own settings."""
    cold_start: ColdStartSpec = ColdStartSpec.model_construct()
    """How long an instance takes until it can answer."""
    autoscaling: AutoscalingSpec | None = None
    """Active instances by load; without it there are always `replicas`."""


class DefaultsSpec(WorkloadSpec):
    """The part of an InferenceModel that `Platform.defaults` may set for all."""

    type: Literal["llm", "embedding", "multimodal", "specialized"] = "llm"
    """What the model does; an embedding model's engine is started as one."""
    pool: Name | None = None
    """The GPUPool it runs in. Default: the only one; for a model without GPUs, and where there are no pools, none."""
    tenant: Name | None = None
    """For whom alone it runs, in that tenant's namespace. Default: for nobody in particular."""
    capabilities: tuple[Name, ...] = ()
    """What it can do: a request that names no model but asks for capabilities gets the smallest model that has all."""
    expected_qps: ExpectedQpsSpec | None = None
    """Requests a second of the whole model, for proofs."""
    traffic: TrafficSpec = TrafficSpec.model_construct()
    """How requests travel to the model."""


class VersionSpec(Part):
    """One of several versions. It inherits the model's spec; what stands here wins."""

    name: Name
    """In quotes where it looks like a number: 1.10 without them is 1.1."""
    weight: Percent | None = None
    """Share of the model's requests in percent; all versions sum to 100. One version alone may leave it out."""
    model_name: WeightsId | None = None
    """Other weights under the same public name. Default: the model's."""
    framework: Literal["vllm", "sglang", "tgi", "triton", "tensorrt-llm"] | None = None
    """Another engine. Default: the model's."""
    image: Image | None = None
    """Another image. Default: the model's."""
    model_path: ModelPathText | None = None
    """Other weights. Default: the model's."""
    replicas: Count | None = None
    """Active instances of this version. Default: the model's."""
    resources: ResourcesSpec | None = None
    """What differs from the model's, leaf by leaf."""
    config: ConfigSpec | None = None
    """What differs from the model's, leaf by leaf."""
    autoscaling: AutoscalingSpec | None = None
    """What differs from the model's, leaf by leaf."""
    cold_start: ColdStartSpec | None = None
    """What differs from the model's, leaf by leaf."""
    endpoints: tuple[EndpointSpec, ...] | None = None
    """This version's instances, instead of the model's."""


class InferenceModelSpec(DefaultsSpec):
    model_name: WeightsId
    """The weights' id, as their publisher writes it: `meta-llama/Llama-2-70b-chat-hf`."""
    aliases: tuple[Name, ...] = ()
    """Further names by which clients may ask for it."""
    version: Name | None = None
    """Of a model with one version. Default: "1"."""
    versions: Annotated[tuple[VersionSpec, ...], Field(min_length=1)] | None = None
    """Several versions of one public name, with weights."""
    endpoints: tuple[EndpointSpec, ...] = ()
    """Instances for Turnout's own Envoys, where nothing else lists them."""


class InferenceModel(Document):
    """One model that clients can ask for. `metadata.name` and `modelName` are enough."""

    kind: Literal["InferenceModel"]
    spec: InferenceModelSpec
    """What runs, and how requests travel to it."""
