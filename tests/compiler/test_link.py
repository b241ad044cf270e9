"""Policies become one fleet: sums, references, standbys, names, and the defaults that follow from other values."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.diagnostics import BUILT_IN
from compiler.fleet import Carrier, Framework, Quantization, Scheme, Strategy, Target, Zones
from tests.compiler.policies import codes, document, fleet, linked, model, one_model

GIB = 2**30


def test_a_model_of_five_lines_has_everything() -> None:
    chat = one_model(
        "apiVersion: turnout.dev/v1\nkind: InferenceModel\nmetadata: {name: chat}\nspec: {modelName: a/b}\n"
    )
    (version,) = chat.versions
    assert (chat.namespace, chat.served_names) == ("ai-inference", ("chat",))
    assert (version.name, version.weight, version.replicas) == ("1", 100, 1)
    assert (version.hot, version.warm, version.cold) == (0, 0, 0)
    engine = version.engine
    assert (engine.framework, engine.image) == (Framework.VLLM, "vllm/vllm-openai:v0.11.0")
    assert (engine.model_path.scheme, engine.model_path.location) == (Scheme.HF, "a/b")
    assert (engine.max_seq_len, engine.max_batch_size, engine.tensor_parallel) == (4096, 64, 1)
    assert (engine.quantization, engine.dtype, engine.gpu_memory_utilization) == (Quantization.NONE, "auto", 0.9)
    needs = version.resources
    assert (needs.gpu_product, needs.gpu_count) == ("NVIDIA-A100-SXM4-80GB", 1)
    assert (needs.cpu, needs.memory, needs.shm) == (8000, 32 * GIB, 8 * GIB)
    assert version.health_check.path == "/health"
    pool = version.connection_pool
    assert (pool.max_connections, pool.http1_max_pending_requests, pool.http2_max_requests) == (64, 64, 64)
    assert chat.load_balancing.strategy is Strategy.LEAST_CONNECTIONS
    assert (chat.retries.attempts, chat.retries.status_codes) == (3, (500, 502, 503))
    assert chat.retries.retry_on == ("connect-failure", "refused-stream", "reset")
    assert (chat.timeouts.stream_idle, chat.timeouts.unary_total) == (timedelta(minutes=5), timedelta(minutes=5))


def test_defaults_grow_with_gpus_batches_and_instances() -> None:
    (version,) = one_model(
        model(spec="replicas: 3\nresources: {gpuCount: 4}\nconfig: {maxBatchSize: 10}"),
        document("DisasterRecovery", "recovery", "models: [{name: chat, hotStandby: 1, coldStandby: 2}]"),
    ).versions
    assert version.engine.tensor_parallel == 4
    assert (version.resources.cpu, version.resources.memory) == (32_000, 128 * GIB)
    assert version.resources.shm == 32 * GIB
    assert version.connection_pool.max_connections == 10 * (3 + 1 + 2)
    assert version.connection_pool.http1_max_pending_requests == 10


def test_a_health_path_follows_the_framework_of_each_version() -> None:
    chat = one_model(
        model(
            spec="""
            modelPath: s3://models/chat
            versions:
              - {name: "1", weight: 50}
              - {name: "2", weight: 50, framework: triton}
            """
        )
    )
    assert [version.health_check.path for version in chat.versions] == ["/health", "/v2/health/ready"]


def test_zero_is_zero_and_not_a_default() -> None:
    chat = one_model(
        model(
            spec="""
            replicas: 0
            config: {shm: 0}
            resources: {gpuCount: 0}
            traffic:
              retries: {attempts: 0}
              outlierDetection: {consecutive5xxErrors: 0}
              connectionPool: {maxConnections: 0, http1MaxPendingRequests: 0, http2MaxRequests: 0}
            """
        ),
        document("DisasterRecovery", "recovery", "models: [{name: chat, hotStandby: 1}]"),
    )
    (version,) = chat.versions
    pool = version.connection_pool
    assert (pool.max_connections, pool.http1_max_pending_requests, pool.http2_max_requests) == (0, 0, 0)
    assert (version.replicas, version.resources.shm, version.resources.gpu_count) == (0, 0, 0)
    assert (chat.retries.attempts, chat.outlier_detection.consecutive_5xx_errors) == (0, 0)


def test_standbys_stand_by_for_the_heaviest_version_alone() -> None:
    chat = one_model(
        model(spec='versions: [{name: "1", weight: 10}, {name: "2", weight: 90}]'),
        document("DisasterRecovery", "recovery", "models: [{name: chat, hotStandby: 2, warmStandby: 1}]"),
    )
    assert [(v.name, v.hot, v.warm) for v in chat.versions] == [("1", 0, 0), ("2", 2, 1)]
    assert [v.connection_pool.max_connections for v in chat.versions] == [64, 4 * 64]


def test_of_equally_heavy_versions_the_first_has_the_standbys() -> None:
    chat = one_model(
        model(spec='versions: [{name: "1", weight: 50}, {name: "2", weight: 50}]'),
        document("DisasterRecovery", "recovery", "models: [{name: chat, hotStandby: 2}]"),
    )
    assert [v.hot for v in chat.versions] == [2, 0]


def test_a_version_inherits_leaf_by_leaf() -> None:
    chat = one_model(
        document("Platform", "platform", "defaults: {config: {maxSeqLen: 1024, maxBatchSize: 8}, replicas: 3}"),
        model(
            spec="""
            config: {maxBatchSize: 16}
            versions:
              - {name: "1", weight: 60}
              - {name: "2", weight: 40, config: {maxSeqLen: 2048}, modelName: org/other, replicas: 1}
            """
        ),
    )
    seen = [(v.engine.max_seq_len, v.engine.max_batch_size, v.replicas, v.model_name) for v in chat.versions]
    assert seen == [(1024, 16, 3, "org/chat"), (2048, 16, 1, "org/other")]


def test_a_lone_version_needs_no_weight() -> None:
    assert [v.weight for v in one_model(model(spec='versions: [{name: "7"}]')).versions] == [100]


def test_a_version_of_weight_zero_stays() -> None:
    chat = one_model(model(spec='versions: [{name: "1", weight: 100}, {name: "2", weight: 0}]'))
    assert [(v.name, v.weight) for v in chat.versions] == [("1", 100), ("2", 0)]


@settings(deadline=None)
@given(st.lists(st.integers(0, 100), min_size=1, max_size=6))
def test_weights_pass_exactly_when_they_sum_to_100(weights: list[int]) -> None:
    entries = ", ".join(f'{{name: "{n}", weight: {weight}}}' for n, weight in enumerate(weights))
    found = [d for d in linked(model(spec=f"versions: [{entries}]"))[1] if d.code == "P202"]
    assert bool(found) == (sum(weights) != 100)
    if found and found[0].hint.startswith("set this weight to "):
        mended = [*weights[:-1], int(found[0].hint.rsplit(" ", 1)[1])]
        assert sum(mended) == 100


def test_endpoints_go_to_the_version_they_name() -> None:
    chat = one_model(
        model(
            spec="""
            endpoints:
              - {address: 10.0.0.1, port: 8000, version: "1"}
              - {address: 10.0.0.2, port: 8000, version: "2", zone: az-1, tier: hot, weight: 3}
            versions: [{name: "1", weight: 50}, {name: "2", weight: 50}]
            """
        )
    )
    assert [[e.address for e in v.endpoints] for v in chat.versions] == [["10.0.0.1"], ["10.0.0.2"]]
    (endpoint,) = chat.versions[1].endpoints
    assert (endpoint.zone, endpoint.tier, endpoint.weight) == ("az-1", "hot", 3)


def test_a_model_lists_every_name_that_reaches_it() -> None:
    chat = one_model(
        model(spec="aliases: [gpt]"),
        document("ModelOrchestrator", "auto", "models: [{name: best, ref: chat, weight: 100}]"),
    )
    assert chat.served_names == ("chat", "gpt", "auto")


def test_a_member_s_alias_is_resolved() -> None:
    (gateway,) = fleet(
        model("a"),
        model("b"),
        document("ModelOrchestrator", "auto", "models: [{name: big, ref: b}, {name: a}]\nrouting: {defaultModel: big}"),
    ).gateways
    assert gateway.orchestrator is not None
    assert gateway.orchestrator.default == (Target("b", 100),)


def test_weights_of_members_are_the_default_stage() -> None:
    (gateway,) = fleet(
        model("a"),
        model("b"),
        document("ModelOrchestrator", "auto", "models: [{name: a, weight: 30}, {name: b, weight: 70}]"),
    ).gateways
    assert gateway.orchestrator is not None
    assert gateway.orchestrator.default == (Target("a", 30), Target("b", 70))


def test_without_a_gateway_there_is_one_for_everything() -> None:
    (gateway,) = fleet(model("b"), model("a")).gateways
    assert (gateway.name, gateway.models) == ("default", ("a", "b"))
    assert [(host.name, host.carrier) for host in gateway.hosts] == [("*", Carrier.ENVOY)]
    assert [(listener.port, listener.protocol) for listener in gateway.listeners] == [(8080, "HTTP")]


def test_an_orchestrator_may_name_the_gateway_that_nobody_declared() -> None:
    (gateway,) = fleet(
        model(), document("ModelOrchestrator", "auto", "gateway: default\nmodels: [{name: chat, weight: 100}]")
    ).gateways
    assert gateway.orchestrator is not None


def test_hosts_are_carried_by_whom_platform_says() -> None:
    (gateway,) = fleet(
        model(),
        document("Gateway", "public", "hosts: [a.example.com, b.example.com]"),
        document("Platform", "platform", "dataPlane: {hosts: {b.example.com: istio}}"),
    ).gateways
    assert [host.carrier for host in gateway.hosts] == [Carrier.ENVOY, Carrier.ISTIO]


def test_the_gateway_api_needs_a_class() -> None:
    platform = 'dataPlane: {{hosts: {{"*": gatewayApi}}{more}}}'
    without = document("Platform", "platform", platform.format(more=""))
    _, found = linked(model(), without)
    [missing] = found
    assert (missing.code, missing.message) == ("P113", "'spec.dataPlane.gatewayClass' is missing")
    assert codes(model(), document("Platform", "platform", "dataPlane: {default: gatewayApi}")) == ["P113"]
    of = fleet(model(), document("Platform", "platform", platform.format(more=", gatewayClass: example")))
    assert of.platform.gateway_class == "example"
    assert [host.carrier for host in of.gateways[0].hosts] == [Carrier.GATEWAY_API]


def test_settings_have_the_line_where_policy_says_them_and_no_other() -> None:
    (of,) = fleet(model("chat", "traffic: {outlierDetection: {interval: 5s}, timeouts: {unary: {total: 3m}}}")).models
    assert (of.outlier_detection.origin.line, of.timeouts.origin.line) == (6, 6)
    assert BUILT_IN == of.load_balancing.origin == of.timeouts.stream_origin
    gateway = document("Gateway", "public", "maxRequestBytes: 8Mi")
    (limited,) = fleet(model(), gateway).gateways
    assert limited.limit_origin.line == 11


def test_a_rule_s_limits_of_streams_are_said_on_the_rule_or_else_on_the_model() -> None:
    def of_rule(own: str) -> int:
        rule = f"{{name: r, target: chat, traffic: {{{own}}}}}"
        auto = document("ModelOrchestrator", "auto", f"models: [{{name: chat}}]\nrouting: {{rules: [{rule}]}}")
        (gateway,) = fleet(auto, model("chat", "traffic: {timeouts: {stream: {idle: 6m}}}")).gateways
        assert gateway.orchestrator is not None
        return gateway.orchestrator.rules[0].timeouts.stream_origin.line

    assert of_rule("retries: {attempts: 1}") == 13
    assert of_rule("timeouts: {unary: {total: 1m}}") == 13
    assert of_rule("timeouts: {stream: {idle: 7m}}") == 6


def test_the_body_limit_follows_the_longest_context() -> None:
    long = model("long", "config: {maxSeqLen: 1048576}")
    (small,) = fleet(model()).gateways
    (large,) = fleet(model(), long).gateways
    (chosen,) = fleet(model(), long, document("Gateway", "public", "models: [chat]")).gateways
    assert (small.max_request_bytes, large.max_request_bytes, chosen.max_request_bytes) == (4 * 2**20, 2**24, 4 * 2**20)


@pytest.mark.parametrize(
    ("written", "zones"),
    [
        ("{activeZones: [az-1]}", Zones(("az-1",), None)),
        ("{strategy: active-passive, activeZones: [az-1], standbyZone: az-2}", Zones(("az-1",), "az-2")),
        ("{strategy: active-passive, standbyZone: az-2}", Zones((), "az-2")),
    ],
)
def test_zones_of_a_model_are_those_of_its_recovery(written: str, zones: Zones) -> None:
    recovery = document("DisasterRecovery", "recovery", f"models: [{{name: chat}}]\nazFailover: {written}")
    assert one_model(model(), recovery).zones == zones


def test_a_namespace_of_a_model_is_its_own_or_platform_s() -> None:
    platform = document("Platform", "platform", "namespace: prod")
    own = model("own").replace("{name: own}", "{name: own, namespace: lab}")
    assert [m.namespace for m in fleet(platform, model(), own).models] == ["prod", "lab"]


def test_gpus_of_platform_are_added_to_the_built_in_ones() -> None:
    platform = document("Platform", "platform", "gpuCatalogue: {mi300x: {label: AMD-MI300X, memoryGiB: 192}}")
    (version,) = one_model(platform, model(spec="resources: {gpuType: mi300x}")).versions
    assert version.resources.gpu_product == "AMD-MI300X"


def test_names_that_differ_in_their_slug_alone_are_refused_and_others_not() -> None:
    assert codes(model("a.b"), model("a-b")) == ["P207"]
    assert codes(model("1b"), model("m-1b")) == ["P207"]
    assert codes(model("a.b"), model("a-c")) == []


def test_an_object_name_of_two_versions_is_refused() -> None:
    assert codes(model("a", 'version: "b-1"'), model("a-b")) == ["P207"]
    assert codes(model("a", 'versions: [{name: "1", weight: 50}, {name: 1-hot, weight: 50}]')) == ["P207"]


def test_an_error_leaves_no_fleet() -> None:
    assert linked(model(spec="versions: [{name: '1', weight: 90}]"))[0] is None


def test_a_warning_leaves_the_fleet() -> None:
    result, found = linked(model(spec="resources: {gpuType: nvidia.com/a100-80g}"))
    assert [d.code for d in found] == ["P226"]
    assert result is not None


def test_what_says_the_same_makes_the_same_fleet() -> None:
    """A setting written out as its default is no other setting."""
    short = one_model(model())
    long = one_model(
        model(
            spec="""
            version: "1"
            type: llm
            replicas: 1
            image: vllm/vllm-openai:v0.11.0
            modelPath: hf://org/chat
            config: {maxSeqLen: 4096, maxBatchSize: 64, tensorParallel: 1, dtype: auto, shm: 8Gi}
            resources: {gpuType: a100-80g, gpuCount: 1, gpuMemory: 80Gi, cpu: 8, memory: 32Gi}
            traffic: {connectionPool: {maxConnections: 64}, timeouts: {stream: {firstByte: 1m, total: 60m}}}
            """
        )
    )
    assert long == replace(short, origin=long.origin)


def test_who_stands_in_for_any_name_serves_every_name_that_a_sidecar_has() -> None:
    chain = "fallback: {onExplicitModel: always, chain: [{model: b}]}"
    found = fleet(
        model("a", "aliases: [first]"),
        model("b"),
        model("c"),
        document("Gateway", "public", "hosts: [a.example.com]\nmodels: [a]"),
        document(
            "ModelOrchestrator", "auto", f"models: [{{name: a}}, {{name: b}}]\nrouting: {{defaultModel: a, {chain}}}"
        ),
    )
    (b,) = (of for of in found.models if of.name == "b")
    assert b.served_names == ("b", "a", "auto", "c", "first")


def test_a_mirror_serves_every_name_of_the_requests_that_are_copied() -> None:
    rule = "{target: a, traffic: {mirror: {model: c, percent: 5}}}"
    found = fleet(
        model("a", "aliases: [first]\nexpectedQps: {typical: 1}\ntraffic: {mirror: {model: b, percent: 1}}"),
        model("b"),
        model("c"),
        document(
            "ModelOrchestrator",
            "auto",
            f"models: [{{name: a}}]\nrouting: {{defaultModel: a, rules: [{rule}]}}",
        ),
    )
    assert {of.name: of.served_names for of in found.models} == {
        "a": ("a", "first", "auto"),
        "b": ("b", "a", "auto", "first"),
        "c": ("c", "auto"),
    }
