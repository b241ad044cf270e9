"""Fleets made by hand: one model of five lines' worth of defaults, and a fleet with some of everything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from compiler.diagnostics import Position
from compiler.fleet import (
    Analysis,
    AnalysisSource,
    Autoscaling,
    Carrier,
    ColdStart,
    Condition,
    ConnectionPool,
    ControlServer,
    Engine,
    Field,
    Fleet,
    Framework,
    Gateway,
    GpuQuota,
    HashAlgorithm,
    HashKey,
    HashSource,
    HealthCheck,
    Host,
    LengthUnit,
    Listener,
    LoadBalancing,
    Metric,
    MetricTarget,
    Model,
    ModelPath,
    ModelType,
    Node,
    Operator,
    Orchestrator,
    OtlpProtocol,
    OutlierDetection,
    Pace,
    Platform,
    PodResources,
    Pool,
    PoolStrategy,
    Priority,
    Protocol,
    Quantization,
    Queue,
    Repository,
    Resources,
    Retries,
    Rollout,
    RolloutEngine,
    RolloutMetric,
    RolloutStrategy,
    Rule,
    Scheme,
    Sharing,
    SharingMode,
    ShmCache,
    SlowStart,
    Strategy,
    Target,
    Tenant,
    Timeouts,
    Tracing,
    Version,
    Zones,
)

GI = 1024**3


def seconds(number: float) -> timedelta:
    return timedelta(seconds=number)


def at(line: int, file: str = "policies/models.yaml") -> Position:
    return Position(file, line, 3)


def engine(framework: Framework = Framework.VLLM) -> Engine:
    return Engine(
        framework=framework,
        image="vllm/vllm-openai:v0.11.0",
        model_path=ModelPath(Scheme.HF, "mistralai/Mistral-7B-Instruct-v0.2"),
        max_seq_len=4096,
        max_batch_size=64,
        tensor_parallel=1,
        quantization=Quantization.NONE,
        dtype="auto",
        gpu_memory_utilization=0.9,
        extra_args=(),
    )


def version(name: str = "1", weight: int = 100, line: int = 1) -> Version:
    return Version(
        name=name,
        weight=weight,
        model_name="mistralai/Mistral-7B-Instruct-v0.2",
        engine=engine(),
        resources=Resources("NVIDIA-A100-SXM4-80GB", gpu_count=1, cpu=8000, memory=32 * GI, shm=8 * GI),
        cold_start=ColdStart(seconds(300)),
        replicas=1,
        hot=0,
        warm=0,
        cold=0,
        endpoints=(),
        health_check=HealthCheck("/health", seconds(10), seconds(5), failure_threshold=3, success_threshold=2),
        connection_pool=ConnectionPool(64, 64, 64, 0, seconds(1)),
        origin=at(line),
    )


def model(name: str = "mistral-7b", *versions: Version, line: int = 1) -> Model:
    return Model(
        name=name,
        namespace="ai-inference",
        aliases=(),
        served_names=(name,),
        type=ModelType.LLM,
        versions=versions or (version(line=line),),
        zones=Zones((), None),
        load_balancing=LoadBalancing(Strategy.LEAST_CONNECTIONS, None, HashAlgorithm.MAGLEV, SlowStart(seconds(0), 10)),
        outlier_detection=OutlierDetection(5, seconds(10), seconds(60), 100),
        retries=Retries(3, ("connect-failure", "refused-stream", "reset"), (500, 502, 503), seconds(0.025)),
        timeouts=Timeouts(seconds(60), seconds(300), seconds(3600), seconds(300)),
        labels=(),
        annotations=(),
        origin=at(line),
    )


def scaled(least: int, most: int, *metrics: MetricTarget) -> Autoscaling:
    up, down = Pace(seconds(60), 2, seconds(60)), Pace(seconds(300), 1, seconds(120))
    return Autoscaling(least, most, metrics or (MetricTarget(Metric.RUNNING_REQUESTS, 48.0),), up, down, at(16))


def gateway(name: str = "mesh", *models: str, carrier: Carrier = Carrier.ISTIO) -> Gateway:
    return Gateway(
        name=name,
        namespace="ai-inference",
        hosts=(Host(f"{name}.example.com", carrier),),
        listeners=(Listener(8080, Protocol.HTTP, None),),
        models=models,
        orchestrator=None,
        max_request_bytes=4 * 1024**2,
        labels=(),
        annotations=(),
        origin=at(1, "policies/gateways.yaml"),
    )


def tenant(name: str, quota: int | None = None) -> Tenant:
    origin = at(1, "policies/tenants.yaml")
    limit = None if quota is None else GpuQuota(quota, at(2, "policies/tenants.yaml"))
    return Tenant(name, f"ai-inference-{name}", limit, labels=(), annotations=(), origin=origin)


def owned(name: str, of: Tenant, *versions: Version, line: int = 1) -> Model:
    return replace(model(name, *versions, line=line), tenant=of.name, namespace=of.namespace)


def fleet(*models: Model, gateways: tuple[Gateway, ...] = (), tenants: tuple[Tenant, ...] = ()) -> Fleet:
    ordered = tuple(sorted(models, key=lambda m: m.name))
    return Fleet(ordered, gateways or (gateway("mesh", *(m.name for m in ordered)),), tenants=tenants)


def rich_fleet() -> Fleet:
    """Every engine, tier, scheme of weights and hash key; two versions; a rollout; six gateways, of which four are
    Istio's and one the Gateway API's; two tenants, one of them with a model that is only Istio's; a pool for each way
    of sharing GPUs."""
    bank = replace(tenant("bank", 8), labels=(("cost-centre", "4711"),), annotations=(("example.com/owner", "risk"),))
    shop = tenant("shop")
    own = (owned("fraud-7b", bank, version("1", line=140), line=138), owned("cat.7b", shop, _on_the_node(), line=150))
    models = (
        _llama_70b(),
        _embedder(),
        _mistral(),
        _quantized(),
        _on_triton(),
        _on_tensorrt(),
        _moved(),
    )
    tracing = Tracing(OtlpProtocol.GRPC, "otel-collector.monitoring.svc", 4317, 1.0, at(8, "policies/platform.yaml"))
    platform = Platform(
        origin=at(3, "policies/platform.yaml"),
        prometheus="http://prometheus.monitoring.svc:9090",
        tracing=tracing,
        control_server=control_server(),
        gateway_class="example",
    )
    whole = fleet(*models, *own, *_in_pools(), gateways=_gateways(), tenants=(bank, shop))
    return replace(whole, platform=platform, pools=pools())


def control_server() -> ControlServer:
    return ControlServer(
        replicas=2,
        image="registry.example.com/turnout:0.1.0",
        git_sync_image="registry.example.com/git-sync:v4.7.1",
        resources=PodResources(500, GI),
        repository=Repository("git@git.example.com:policy.git", "main", "policies", "policy-key"),
        tls_secret="turnout-control-xds",
        environment="prod",
        origin=at(9, "policies/platform.yaml"),
    )


def _on_the_node() -> Version:
    own = version("1", line=152)
    return replace(own, engine=replace(own.engine, model_path=ModelPath(Scheme.HOST, "/data/models/cat")))


def _llama_70b() -> Model:
    large = Resources("NVIDIA-A100-SXM4-80GB", gpu_count=4, cpu=32000, memory=128 * GI, shm=32 * GI)
    stable = replace(
        version("1.0", 90, line=14),
        model_name="meta-llama/Llama-2-70b-chat-hf",
        engine=replace(
            engine(), model_path=ModelPath(Scheme.S3, "models/llama-70b"), tensor_parallel=4, dtype="float16"
        ),
        resources=large,
        replicas=2,
        hot=1,
        warm=1,
        cold=2,
        connection_pool=ConnectionPool(384, 64, 384, 50, seconds(1)),
        autoscaling=scaled(2, 8, MetricTarget(Metric.QPS, 100.0), MetricTarget(Metric.LATENCY, 500.0)),
        standby_origin=at(11, "policies/recovery.yaml"),
    )
    canary = replace(
        stable,
        name="1.1",
        weight=10,
        engine=replace(stable.engine, quantization=Quantization.FP8, extra_args=("--seed", "7")),
        replicas=1,
        hot=0,
        warm=0,
        cold=0,
        origin=at(19),
        autoscaling=None,
    )
    return replace(
        model("llama-70b", stable, canary, line=10),
        priority=Priority.CRITICAL,
        aliases=("llama",),
        rto=seconds(30),
        served_names=("llama-70b", "llama", "auto"),
        zones=Zones(("az-1", "az-2"), "az-3"),
        load_balancing=LoadBalancing(
            Strategy.LEAST_CONNECTIONS, None, HashAlgorithm.MAGLEV, SlowStart(seconds(60), 10)
        ),
        labels=(("team", "chat"),),
        annotations=(("example.com/runbook", "https://runbooks.example.com/llama: start here"),),
    )


def _embedder() -> Model:
    own = replace(
        version("2", line=40),
        model_name="BAAI/bge-m3",
        engine=replace(engine(Framework.SGLANG), image="lmsysorg/sglang:v0.5.4"),
        cold_start=ColdStart(seconds(61)),
        connection_pool=ConnectionPool(0, 0, 0, 0, seconds(0.5)),
    )
    cookie = HashKey(HashSource.COOKIE, "session")
    return replace(
        model(
            "bge-m3", replace(own, engine=replace(own.engine, model_path=ModelPath(Scheme.HF, "BAAI/bge-m3"))), line=38
        ),
        type=ModelType.EMBEDDING,
        load_balancing=LoadBalancing(
            Strategy.CONSISTENT_HASH, cookie, HashAlgorithm.RING_HASH, SlowStart(seconds(0), 10)
        ),
        retries=Retries(0, ("connect-failure",), (), seconds(0.025)),
        timeouts=Timeouts(seconds(10), seconds(10), seconds(20), seconds(30)),
    )


def _mistral() -> Model:
    own = replace(
        version("0.2", line=60),
        engine=replace(
            engine(Framework.TGI),
            image="ghcr.io/huggingface/text-generation-inference:3.3.6",
            model_path=ModelPath(Scheme.PVC, "weights/mistral/7b"),
            dtype="bfloat16",
        ),
        replicas=0,
        warm=2,
        standby_origin=at(12, "policies/recovery.yaml"),
        health_check=HealthCheck("/health", seconds(2.5), seconds(0.5), failure_threshold=2, success_threshold=1),
    )
    header = HashKey(HashSource.HEADER, "x-session-id")
    return replace(
        model("mistral-7b", own, line=55),
        load_balancing=LoadBalancing(Strategy.CONSISTENT_HASH, header, HashAlgorithm.MAGLEV, SlowStart(seconds(0), 10)),
        zones=Zones(("az-1",), None),
        retries=Retries(2, ("connect-failure", "reset"), (), seconds(0.025)),
    )


def _quantized() -> Model:
    own = replace(
        version("1", line=80),
        model_name="TheBloke/CodeLlama-34B-AWQ",
        engine=replace(
            engine(),
            model_path=ModelPath(Scheme.OCI, "registry.example.com/models/codellama:34b-awq"),
            quantization=Quantization.AWQ,
        ),
        resources=Resources("NVIDIA-L40S", gpu_count=1, cpu=500, memory=1000**3, shm=0),
    )
    query = HashKey(HashSource.QUERY_PARAMETER, "user")
    return replace(
        model("codellama-34b", own, line=75),
        load_balancing=LoadBalancing(Strategy.CONSISTENT_HASH, query, HashAlgorithm.MAGLEV, SlowStart(seconds(0), 10)),
        outlier_detection=OutlierDetection(0, seconds(30), seconds(60), 50),
    )


def _on_triton() -> Model:
    own = replace(
        version("1", line=100),
        engine=replace(
            engine(Framework.TRITON),
            image="nvcr.io/nvidia/tritonserver:25.09-py3",
            model_path=ModelPath(Scheme.GS, "models/reranker"),
        ),
        resources=Resources("NVIDIA-L4", gpu_count=0, cpu=4000, memory=8 * GI, shm=GI),
        health_check=HealthCheck("/v2/health/ready", seconds(10), seconds(5), 3, 2),
    )
    return replace(
        model("8b.reranker", own, line=95),
        type=ModelType.SPECIALIZED,
        load_balancing=LoadBalancing(Strategy.ROUND_ROBIN, None, HashAlgorithm.MAGLEV, SlowStart(seconds(0), 10)),
    )


def _on_tensorrt() -> Model:
    own = replace(
        version("1", line=120),
        engine=replace(
            engine(Framework.TENSORRT_LLM),
            image="nvcr.io/nvidia/tensorrt-llm/release:1.0.0",
            model_path=ModelPath(Scheme.HOST, "/data/models/qwen"),
        ),
        hot=1,
        standby_origin=at(13, "policies/recovery.yaml"),
    )
    return replace(model("qwen-72b", own, line=115), priority=Priority.LOW)


def rollout(*metrics: RolloutMetric, line: int = 1) -> Rollout:
    """By Flagger, of the model `phi-4` from version 4.0 to 4.1."""
    return Rollout(
        name="phi-4.1",
        model="phi-4",
        from_version="4.0",
        to_version="4.1",
        strategy=RolloutStrategy.CANARY,
        steps=(10, 25, 50, 75, 100),
        interval=seconds(30),
        pause_after=(),
        shadow_percent=0,
        sticky_by=None,
        ready_timeout=seconds(375),
        drain_timeout=seconds(120),
        analysis=Analysis(AnalysisSource.PROMETHEUS, 3, 95, metrics, None),
        engine=RolloutEngine.FLAGGER,
        labels=(("team", "chat"),),
        annotations=(("example.com/ticket", "4711"),),
        origin=at(line, "policies/rollouts.yaml"),
        engine_origin=at(line + 9, "policies/rollouts.yaml"),
    )


def metric(
    name: str, minimum: float | None = None, maximum: float | None = None, query: str | None = None
) -> RolloutMetric:
    return RolloutMetric(name, minimum, maximum, query, at(12, "policies/rollouts.yaml"))


def moved_model(of: Rollout, *, line: int = 140) -> Model:
    old, new = version("4.0", line=line + 1), version("4.1", weight=0, line=line + 2)
    return replace(model("phi-4", old, replace(new, replicas=2), line=line), rollout=of)


def _moved() -> Model:
    judged = (metric("success-rate", 99), metric("duration", None, 500), metric("ttft", None, 2000))
    waiting = metric("waiting", None, 50, 'max(vllm:num_requests_waiting{namespace="{{ namespace }}"})')
    return moved_model(rollout(*judged, waiting, line=1))


def pools() -> tuple[Pool, ...]:
    """One for each way of sharing, each with another strategy and its nodes found in another way."""
    whole = Pool(
        name="h100",
        nodes=(node("gpu-1", "az-1"), node("gpu-2", "az-2"), node("gpu-3", "az-3", spot=True)),
        strategy=PoolStrategy.AFFINITY,
        queue=Queue(5, True),
        sharing=Sharing(SharingMode.NONE, 1),
        shm_cache=ShmCache(128 * GI, "/dev/shm/model_cache"),
        labels=(("team", "platform"),),
        annotations=(("example.com/owner", "platform"),),
        origin=at(3, "policies/pools.yaml"),
    )
    labelled = (node("a", "az-1", labels=(("group", "a"),)), node("b", "az-2", labels=(("group", "b"),)))
    sliced = tuple(replace(each, gpu_product="NVIDIA-A100-SXM4-80GB-MIG-1g.10gb", gpus=28) for each in labelled)
    return (
        replace(whole, name="0.slices", nodes=sliced, queue=None, sharing=Sharing(SharingMode.MIG, 1)),
        whole,
        replace(
            whole,
            name="mps",
            nodes=labelled,
            queue=None,
            strategy=PoolStrategy.SPREAD,
            sharing=Sharing(SharingMode.MPS, 3),
        ),
        replace(whole, name="turns", strategy=PoolStrategy.BINPACK, sharing=Sharing(SharingMode.TIME_SLICING, 1.5)),
        replace(whole, name="vgpu", nodes=labelled, queue=Queue(1, False), sharing=Sharing(SharingMode.VGPU, 4)),
    )


def node(name: str, zone: str, labels: tuple[tuple[str, str], ...] = (), spot: bool = False) -> Node:
    return Node(
        name=name,
        zone=zone,
        gpu_product="NVIDIA-A100-SXM4-80GB",
        gpu_memory_gib=80,
        gpus=4,
        cpu=64000,
        memory=512 * GI,
        labels=labels,
        spot=spot,
    )


def _in_pools() -> Iterator[Model]:
    """A model in each pool; in the first, weights of every kind that can be kept in its nodes' memory."""
    slices, whole, mps, turns, vgpu = pools()
    kept = {
        "kept-bucket": ModelPath(Scheme.S3, "models/kept"),
        "kept-claim": ModelPath(Scheme.PVC, "weights/kept"),
        "kept-hub": ModelPath(Scheme.HF, "example/kept-7b"),
        "kept-on-host": ModelPath(Scheme.HOST, "/data/kept"),
    }
    for line, (name, path) in enumerate(kept.items(), 140):
        own = version(line=line)
        parameters = None if path.scheme is Scheme.HOST else 7 * 10**9
        own = replace(
            own,
            engine=replace(own.engine, model_path=path, parameters=parameters),
            cold_start=ColdStart(seconds(300), preload=True),
            hot=1,
            cold=1,
        )
        yield replace(model(name, own, line=line), pool=whole, zones=Zones(("az-1",), "az-3"))
    for line, pool in enumerate((slices, mps, turns, vgpu), 150):
        own = version(line=line)
        product = pool.nodes[0].gpu_product
        own = replace(own, resources=replace(own.resources, gpu_product=product))
        yield replace(model(f"in-{pool.name}", own, line=line), pool=pool)


def _gateways() -> tuple[Gateway, ...]:
    auto = Orchestrator(
        "auto",
        (),
        LengthUnit.CHARACTERS,
        (Target("llama-70b", 75), Target("mistral-7b", 25)),
        at(1, "policies/routing.yaml"),
    )
    mesh = replace(
        gateway("mesh", "8b.reranker", "bge-m3", "codellama-34b", "llama-70b", "mistral-7b"),
        hosts=(Host("mesh.example.com", Carrier.ISTIO), Host("own.example.com", Carrier.ENVOY)),
        listeners=(Listener(443, Protocol.HTTPS, "mesh-tls"), Listener(80, Protocol.HTTP, None)),
        orchestrator=auto,
        labels=(("team", "edge"),),
        annotations=(("example.com/owner", "edge"),),
    )
    inside = replace(gateway("inside", "llama-70b"), namespace="edge", hosts=(Host("*", Carrier.ISTIO),))
    own = gateway("own", "cat.7b", "qwen-72b", carrier=Carrier.ENVOY)
    return (inside, mesh, own, _standard(), gateway("trial", "phi-4"), gateway("vault", "fraud-7b"))


def _standard() -> Gateway:
    """A tenant's model beside others, and rules of which two meet."""
    of, team = model(), ("x-team", Operator.EQ, ("blue",))
    conditions = (
        Condition(Field.HEADER, *team, at(6)),
        Condition(Field.PATH, "", Operator.PREFIX, ("/v1/chat/",), at(7)),
    )
    targets = (Target("mistral-7b", 50), Target("cat.7b", 50))
    rules = tuple(
        Rule(f"rule-{n}", -n, (each,), targets, of.retries, of.timeouts, at(5 + n, "policies/routing.yaml"))
        for n, each in enumerate(conditions, 1)
    )
    choice = Orchestrator(
        "choice", rules, LengthUnit.CHARACTERS, (Target("mistral-7b", 100),), at(4, "policies/routing.yaml")
    )
    return replace(
        gateway("standard", "cat.7b", "mistral-7b", carrier=Carrier.GATEWAY_API),
        listeners=(Listener(443, Protocol.HTTPS, "standard-tls"), Listener(80, Protocol.HTTP, None)),
        orchestrator=choice,
    )
