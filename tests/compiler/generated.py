"""Policies made up: all that policy can ask of a cluster, in every mixture, and valid as far as a draw can tell."""

from __future__ import annotations

from typing import Any

import yaml
from hypothesis import strategies as st

Document = dict[str, Any]

HUB, BUCKETS = "hf://org/name", ("s3://models/some", "gs://models/some")
FOLDERS = ("pvc://weights/some", "host:///data/some")
ENGINES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "vllm": ((HUB, *BUCKETS, *FOLDERS), (HUB, *BUCKETS, *FOLDERS)),
    "sglang": ((HUB, *BUCKETS, *FOLDERS), (HUB, *FOLDERS)),
    "tgi": ((HUB, *BUCKETS, *FOLDERS), FOLDERS),
    "triton": ((*BUCKETS, *FOLDERS), FOLDERS),
    "tensorrt-llm": ((HUB, *BUCKETS, *FOLDERS), (HUB, *FOLDERS)),
}
"""Model paths of each, and those that its image can copy into a cache."""
EMBEDDERS = ("vllm", "sglang", "triton")
UNTOLD = {"triton": ("running_requests", "kv_usage"), "tgi": ("kv_usage",)}
"""Metrics that an engine does not tell."""
SHARED = (
    {"mode": "timeSlicing", "overcommitRatio": 4},
    {"mode": "mps", "overcommitRatio": 4},
    {"mode": "vgpu", "overcommitRatio": 1.5},
)
ZONES = ("az-1", "az-2", "az-3")
METRICS = ("qps", "latency", "gpu_utilization", "queue_length", "running_requests", "kv_usage")
CARRIERS = ("envoy", "istio", "istio", "istio", "gatewayApi")
"""Istio more often: of its objects there are most, and Flagger moves models on it alone."""
HOSTS = ("a.example.com", "*.b.example.com", "c.example.com")


def document(kind: str, name: str, spec: Document, **metadata: Any) -> Document:
    return {"apiVersion": "turnout.dev/v1", "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}


def some(draw: st.DrawFn, spec: Document) -> Document:
    """Each entry of `spec`, or not."""
    return {key: draw(value) for key, value in spec.items() if draw(st.booleans())}


@st.composite
def fleets(draw: st.DrawFn) -> list[Document]:
    tenants = [f"team-{n}" for n in range(draw(st.integers(0, 2)))]
    pools = [f"pool.{n}" for n in range(draw(st.integers(0, 2)))]
    names = [f"model-{n}.x" for n in range(draw(st.integers(1, 3)))]
    documents = [draw(platform())]
    documents += [draw(pool(name)) for name in pools]
    documents += [draw(tenant(name)) for name in tenants]
    of_all = documents[0]["spec"]
    shared = {pool["metadata"]["name"] for pool in documents if pool["spec"].get("sharing")}
    documents += [draw(model(name, pools, shared, tenants, scaled="prometheus" in of_all)) for name in names]
    if "gatewayApi" not in of_all.get("dataPlane", {}).values() and draw(st.booleans()):
        documents.append(draw(recovery(documents)))
    if draw(st.booleans()):
        documents.append(draw(gateway(names)))
    if draw(st.booleans()):
        documents.append(draw(orchestrator(names)))
    reached = not any("models" in each["spec"] for each in documents if each["kind"] == "Gateway")
    on_istio = of_all.get("dataPlane", {}).get("default") == "istio"
    if reached and on_istio and "prometheus" in of_all and draw(st.booleans()):
        documents += draw(moved(pools))
    return documents


@st.composite
def moved(draw: st.DrawFn, pools: list[str]) -> list[Document]:
    """A model that Flagger moves."""
    spec: Document = {
        "modelName": "org/moved-1b",
        "versions": [{"name": "1", "weight": 100}, {"name": "2", "weight": 0}],
        "expectedQps": {"typical": 500},
        "config": {"gpuMemoryUtilization": 0.2},  # a share of a GPU may be all it gets
    }
    if pools:
        spec["pool"] = draw(st.sampled_from(pools))
    rollout = some(
        draw,
        {
            "steps": st.sampled_from(([10, 50, 100], [100])),
            "interval": st.sampled_from(("1m", "5m")),
            "shadowPercent": st.integers(1, 20),
            "analysis": st.just(
                {"threshold": 5, "metrics": [{"name": "success-rate", "min": 99}, {"name": "ttft", "max": 900}]}
            ),
        },
    )
    rollout |= {"model": "moved", "from": "1", "to": "2", "engine": "flagger"}
    return [document("InferenceModel", "moved", spec), document("Rollout", "moved-2", rollout)]


def text(documents: list[Document]) -> str:
    return yaml.safe_dump_all(documents, sort_keys=False)


@st.composite
def platform(draw: st.DrawFn) -> Document:
    spec = some(
        draw,
        {
            "namespace": st.sampled_from(("serving", "ai")),
            "autoscaler": st.sampled_from(("hpa", "keda")),
            "tracing": st.fixed_dictionaries(
                {"otlp": st.just("http://collector.monitoring.svc:4318")}, optional={"percent": st.integers(0, 100)}
            ),
            "argocd": st.just({"repoURL": "https://git.example.com/policy.git"}),
        },
    )
    if draw(st.integers(0, 3)):
        spec["prometheus"] = {"address": "http://prometheus.monitoring.svc:9090"}
    carriers = some(draw, {"default": st.sampled_from(CARRIERS)})
    carriers |= some(draw, {"envoyImage": st.just("registry.example.com/envoy:1.40")})
    if carriers:
        spec["dataPlane"] = {**carriers, "gatewayClass": "example"}
    if draw(st.booleans()):
        spec["controlServer"] = draw(control_server())
    return document("Platform", "platform", spec)


@st.composite
def control_server(draw: st.DrawFn) -> Document:
    repository = {
        "url": draw(st.sampled_from(("https://git.example.com/policy.git", "git@git.example.com:policy.git")))
    }
    repository |= some(
        draw, {"revision": st.just("v1"), "path": st.just("fleet"), "secretRef": st.just({"name": "git"})}
    )
    given = some(
        draw,
        {
            "replicas": st.integers(1, 3),
            "resources": st.just({"cpu": 2, "memory": "2Gi"}),
            "tls": st.just({"secretRef": {"name": "turnout-control-xds"}}),
        },
    )
    return {"image": "registry.example.com/turnout:1", "repository": repository, **given}


@st.composite
def pool(draw: st.DrawFn, name: str) -> Document:
    nodes = [
        {"name": f"{name.replace('.', '-')}-{zone}", "zone": zone, "count": draw(st.integers(1, 40)),
         "gpuType": "a100-80g", "gpuCount": 8, "cpu": 256, "memory": "2Ti"}
        for zone in ZONES
    ]  # fmt: skip
    if draw(st.booleans()):
        nodes.append({**nodes[0], "name": f"{name.replace('.', '-')}-spot", "count": 20, "spot": True})
    spec = some(
        draw,
        {
            "strategy": st.sampled_from(("binpack", "spread", "affinity")),
            "shmCache": st.just({"size": "1Ti"}),
            "queue": st.fixed_dictionaries({}, optional={"weight": st.integers(1, 10), "reclaimable": st.booleans()}),
        },
    )
    if draw(st.booleans()):
        spec["sharing"] = draw(st.sampled_from(SHARED))
        spec.setdefault("queue", {})
    return document("GPUPool", name, {"nodes": nodes, **spec})


@st.composite
def tenant(draw: st.DrawFn, name: str) -> Document:
    return document("Tenant", name, some(draw, {"gpuQuota": st.just(400)}))


@st.composite
def model(
    draw: st.DrawFn, name: str, pools: list[str], shared: set[str], tenants: list[str], *, scaled: bool
) -> Document:
    framework = draw(st.sampled_from(sorted(ENGINES)))
    paths, kept = ENGINES[framework]
    spec: Document = {"modelName": f"org/{name}-1b", "framework": framework}
    if pools:
        spec["pool"] = draw(st.sampled_from(pools))
    cut = spec.get("pool") in shared
    spec["modelPath"] = draw(st.sampled_from(paths))
    spec |= some(
        draw,
        {
            "type": st.sampled_from(("llm", "embedding", "multimodal") if framework in EMBEDDERS else ("llm",)),
            "resources": st.fixed_dictionaries(
                {"gpuCount": st.sampled_from((1,) if cut else (1, 2, 4))},
                optional={"memory": st.just("64Gi"), "cpu": st.just(12)},
            ),
            "coldStart": st.fixed_dictionaries({}, optional={"cold": st.sampled_from(("61s", "10m"))}),
            "config": st.fixed_dictionaries(
                {}, optional={"maxBatchSize": st.integers(1, 256), "shm": st.sampled_from((0, "1Gi"))}
            ),
            "expectedQps": st.just({"typical": 20, "min": 2}),
        },
    )
    if cut:
        spec["config"] = {**spec.get("config", {}), "gpuMemoryUtilization": 0.2}
    if pools and spec["modelPath"] in kept and draw(st.booleans()):
        spec["coldStart"] = {**spec.get("coldStart", {}), "preloadToShm": True}
    if scaled and draw(st.booleans()):
        metrics = [metric for metric in METRICS if metric not in UNTOLD.get(framework, ())]
        named = draw(st.lists(st.sampled_from(metrics), unique=True, min_size=1, max_size=3))
        spec["autoscaling"] = {"minReplicas": draw(st.integers(1, 3)), "maxReplicas": draw(st.integers(3, 5))}
        spec["autoscaling"]["metrics"] = [{"name": metric, "target": draw(st.integers(1, 99))} for metric in named]
    elif draw(st.booleans()):
        spec["replicas"] = draw(st.integers(1, 4))
    if tenants and draw(st.booleans()):
        spec["tenant"] = draw(st.sampled_from(tenants))
    if draw(st.booleans()):
        share = draw(st.integers(0, 100))
        spec["versions"] = [{"name": "1.0", "weight": share}, {"name": "1.1", "weight": 100 - share}]
    labels = draw(st.sampled_from(({}, {"labels": {"team": "chat"}}, {"annotations": {"example.com/note": "on: it"}})))
    return document("InferenceModel", name, spec, **labels)


@st.composite
def recovery(draw: st.DrawFn, documents: list[Document]) -> Document:
    priorities = st.sampled_from(("critical", "high", "normal", "low"))
    models = [each for each in documents if each["kind"] == "InferenceModel"]
    standbys = [
        {"name": each["metadata"]["name"], "priority": draw(priorities), "hotStandby": draw(st.integers(0, 2)),
         "warmStandby": draw(st.integers(0, 2 if keeps_warm(each["spec"]) else 0)),
         "coldStandby": draw(st.integers(0, 2))}
        for each in models
    ]  # fmt: skip
    zones = st.sampled_from(
        ({}, {"strategy": "active-passive", "activeZones": ["az-1", "az-2"], "standbyZone": "az-3"})
    )
    return document("DisasterRecovery", "recovery", {"models": standbys, "azFailover": draw(zones)})


def keeps_warm(spec: Document) -> bool:
    return spec["framework"] == "vllm" or spec.get("coldStart", {}).get("preloadToShm", False)


@st.composite
def gateway(draw: st.DrawFn, names: list[str]) -> Document:
    spec = some(
        draw,
        {
            "hosts": st.lists(st.sampled_from(HOSTS), unique=True, min_size=1),
            "models": st.lists(st.sampled_from(names), unique=True, min_size=1),
            "replicas": st.integers(1, 5),
            "resources": st.just({"cpu": 2, "memory": "4Gi"}),
            "serviceType": st.sampled_from(("ClusterIP", "LoadBalancer", "NodePort")),
            "listeners": st.just([{"port": 443, "protocol": "HTTPS", "tls": {"secretRef": {"name": "cert"}}}]),
        },
    )
    return document("Gateway", "edge", spec)


@st.composite
def orchestrator(draw: st.DrawFn, names: list[str]) -> Document:
    spec: Document = {"models": [{"name": name} for name in names]}
    spec["routing"] = {"defaultModel": draw(st.sampled_from(names))}
    return document("ModelOrchestrator", "auto", spec)
