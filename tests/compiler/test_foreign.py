"""Documents of ai.example.com/v1: what they mean, and that each of their values keeps its place."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from compiler import foreign
from compiler.decode import Policies, decode
from compiler.diagnostics import Position, Severity
from compiler.fleet import Field, Fleet, Strategy, Target
from compiler.foreign import native
from compiler.kept import Kept
from compiler.kinds import Gateway, InferenceModel, ModelOrchestrator
from compiler.nodes import Mapped, Node, Scalar, Sequence
from compiler.parse import parse
from tests.compiler.policies import codes, document, linked, model
from tests.compiler.test_decode import without_origins

FOLDER = Path(__file__).parents[1] / "golden" / "diagnostics" / "documents-of-the-original" / "policies"
ORIGINAL = (FOLDER / "models.yaml").read_text(encoding="utf-8")


def foreign_model(name: str, spec: str = "") -> str:
    return native_text(model(name, f"framework: vllm\n{spec}"))


def native_text(text: str) -> str:
    return text.replace("turnout.dev/v1", foreign.API_VERSION)


def orchestrator(spec: str, name: str = "auto") -> str:
    return native_text(document("ModelOrchestrator", name, spec))


MENDED = (
    ORIGINAL.replace("value: premium", "value: enterprise"),
    document("Platform", "platform", "prometheus: {address: 'http://prometheus:9090'}"),
    foreign_model("llama-7b"),
    foreign_model("codellama-34b"),
)
CHAT = "models: [{name: chat}]\nrouting: {defaultModel: chat}\n"


def fleet(*documents: str) -> Fleet:
    result, found = linked(*documents)
    assert [d for d in found if d.severity is Severity.ERROR] == []
    assert result is not None
    return result


def policies(*documents: str) -> Policies:
    nodes, _ = parse("---\n".join(documents), "policies/all.yaml")
    return decode((nodes,))[0]


def gateways(*documents: str) -> dict[str, tuple[int | None, int | None]]:
    """Replicas, and memory in GiB, of each."""
    specs = {name: p.body.spec for name, p in policies(*documents).of(Gateway).items()}
    return {
        name: (spec.replicas, spec.resources.memory // 2**30 if spec.resources and spec.resources.memory else None)
        for name, spec in specs.items()
    }


def test_the_original_with_its_mistakes_mended_is_a_fleet() -> None:
    made = fleet(*MENDED)
    assert [m.name for m in made.models] == ["codellama-34b", "llama-70b", "llama-7b"]
    for each in made.models:
        (version,) = each.versions
        check = version.health_check
        assert (check.path, check.interval, check.timeout) == ("/health", timedelta(seconds=10), timedelta(seconds=5))
        assert check.failure_threshold == 3
        assert each.load_balancing.strategy is Strategy.LEAST_CONNECTIONS
    (gateway,) = made.gateways
    assert (gateway.name, gateway.namespace) == ("multi-model-service", "ai-inference")
    assert [host.name for host in gateway.hosts] == ["*"]
    assert gateway.orchestrator is not None
    assert [(rule.name, rule.priority, rule.targets) for rule in gateway.orchestrator.rules] == [
        ("premium-users", 100, (Target("llama-70b", 100),)),
        ("code-requests", 90, (Target("codellama-34b", 100),)),
        ("long-context", 80, (Target("llama-70b", 100),)),
    ]
    big = made.models[1].versions[0]
    assert (big.name, big.model_name, big.replicas) == ("1.0", "meta-llama/Llama-2-70b-chat-hf", 2)
    assert (big.resources.gpu_product, big.resources.gpu_count) == ("NVIDIA-A100-SXM4-80GB", 4)
    assert (big.engine.dtype, big.engine.tensor_parallel) == ("float16", 4)


def test_what_has_no_effect_yet_is_read_all_the_same() -> None:
    read = policies(*MENDED)
    (chooser,) = read.of(ModelOrchestrator).values()
    assert [m.capabilities for m in chooser.body.spec.models] == [("chat", "completion"), ("chat",), ("code",)]
    fallback = chooser.body.spec.routing.fallback
    assert fallback is not None
    assert [(hop.model, hop.equivalent_to) for hop in fallback.chain] == [("llama-70b", ()), ("llama-7b", ())]
    assert fallback.on_explicit_model == "never"
    assert gateways(*MENDED) == {"multi-model-service": (3, 4)}
    scaling = read.of(InferenceModel)["llama-70b"].body.spec.autoscaling
    assert scaling is not None
    assert (scaling.enabled, scaling.min_replicas, scaling.max_replicas) == (True, 2, 8)
    assert [(m.name, m.target) for m in scaling.metrics] == [("qps", 100), ("latency", 500)]


def test_a_foreign_fleet_is_the_one_that_turnouts_own_words_describe() -> None:
    other = (
        "loadBalancing: {strategy: round_robin, healthCheck: {path: /ready, interval: 7s}}\ngateway: {replicas: 3}\n"
    )
    traffic = "traffic: {loadBalancing: {strategy: round_robin}, healthCheck: {path: /ready, interval: 7s}}"
    team = "{field: team, operator: eq, value: search}"
    routing = "models: [{name: m, ref: chat}]\nrouting: {defaultModel: m, rules: [{conditions: [%s], target: m}]}\n"
    assert without_origins(fleet(foreign_model("chat"), orchestrator(routing % team + other))) == without_origins(
        fleet(
            model("chat", traffic),
            document("Gateway", "auto", "replicas: 3"),
            document("ModelOrchestrator", "auto", routing % team.replace("team", "metadata.team")),
        )
    )


def test_a_chain_and_probes_one_level_further_out_are_the_same() -> None:
    out = MENDED[0].replace("    fallbackChain:\n", "  fallbackChain:\n")
    probes = out[out.index("    healthCheck:") : out.index("  gateway:")]
    out = out.replace(probes, "".join(f"{line[2:]}\n" for line in probes.splitlines()))
    assert out != MENDED[0]
    assert without_origins(fleet(out, *MENDED[1:])) == without_origins(fleet(*MENDED))
    (one,), (other,) = (policies(text, *MENDED[1:]).of(ModelOrchestrator).values() for text in (out, MENDED[0]))
    assert one.body.spec == other.body.spec


@pytest.mark.parametrize("member", [model, foreign_model])
def test_probes_of_an_orchestrator_lie_between_the_defaults_and_the_models_own(member: object) -> None:
    platform = document(
        "Platform", "platform", "defaults: {traffic: {healthCheck: {interval: 30s, timeout: 9s, failureThreshold: 9}}}"
    )
    spec = CHAT + "loadBalancing: {healthCheck: {interval: 20s, timeout: 8s}}"
    assert callable(member)
    own = member("chat", "traffic: {healthCheck: {interval: 10s}}")
    for documents in ((platform, own, orchestrator(spec)), (orchestrator(spec), own, platform)):
        check = fleet(*documents).models[0].versions[0].health_check
        assert (check.interval.seconds, check.timeout.seconds, check.failure_threshold) == (10, 8, 9)


def test_a_model_that_is_no_member_keeps_its_traffic() -> None:
    made = fleet(foreign_model("chat"), foreign_model("other"), orchestrator(CHAT + "healthCheck: {interval: 20s}"))
    assert [m.versions[0].health_check.interval.seconds for m in made.models] == [20, 10]


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ([], {"auto": (3, 4)}),
        ([("public", "hosts: [a.example.com]")], {"public": (3, 4)}),
        ([("public", "replicas: 5")], {"public": (5, 4)}),
        ([("public", "resources: {memory: 1Gi}")], {"public": (3, 1)}),
        (
            [("auto", "hosts: [a.example.com]"), ("other", "hosts: [b.example.com]")],
            {"auto": (3, 4), "other": (2, 1)},
        ),
        (
            [("a", "hosts: [a.example.com]"), ("b", "hosts: [b.example.com]")],
            {"a": (2, 1), "auto": (3, 4), "b": (2, 1)},
        ),
    ],
)
def test_a_gateway_is_the_fleets_one_or_the_orchestrators_own(
    written: list[tuple[str, str]], expected: dict[str, tuple[int, int]]
) -> None:
    documents = [document("Gateway", name, spec) for name, spec in written]
    auto = orchestrator(CHAT + "gateway: {replicas: 3, resources: {memory: 4Gi}}")
    assert gateways(foreign_model("chat"), auto, *documents) == expected
    chooses = [g.name for g in fleet(foreign_model("chat"), auto, *documents).gateways if g.orchestrator]
    assert chooses == (["public"] if len(written) == 1 else ["auto"])


@pytest.mark.parametrize(
    ("field", "operator", "value", "read"),
    [
        ("model", "eq", "auto", (Field.MODEL, "")),
        ("user_tier", "eq", "pro", (Field.USER_TIER, "")),
        ("prompt_length", "gt", "5", (Field.PROMPT_LENGTH, "")),
        ("capability", "contains", "code", (Field.CAPABILITY, "")),
        ("team", "eq", "search", (Field.METADATA, "team")),
        ("stream", "eq", "'true'", (Field.METADATA, "stream")),
        ("metadata.team", "eq", "search", (Field.METADATA, "team")),
        ("header.x-team", "eq", "search", (Field.HEADER, "x-team")),
    ],
)
def test_a_condition_on_another_field_is_on_the_metadata(
    field: str, operator: str, value: str, read: tuple[Field, str]
) -> None:
    condition = f"{{field: {field}, operator: {operator}, value: {value}}}"
    rule = f"{{conditions: [{condition}], target: chat}}"
    spec = f"models: [{{name: chat}}]\nrouting: {{defaultModel: chat, rules: [{rule}]}}"
    chooser = fleet(foreign_model("chat"), orchestrator(spec)).gateways[0].orchestrator
    assert chooser is not None
    assert (chooser.rules[0].conditions[0].field, chooser.rules[0].conditions[0].key) == read


@pytest.mark.parametrize(("scaling", "on"), [("{maxReplicas: 8}", False), ("{enabled: true, maxReplicas: 8}", True)])
def test_foreign_autoscaling_is_off_unless_it_is_switched_on(scaling: str, on: bool) -> None:
    (policy,) = policies(foreign_model("chat", f"autoscaling: {scaling}")).of(InferenceModel).values()
    assert policy.body.spec.autoscaling is not None
    assert policy.body.spec.autoscaling.enabled is on


def test_every_value_and_key_keeps_its_place() -> None:
    written, _ = parse(ORIGINAL, "policies/models.yaml")
    read = native((written,), Kept(), [])
    documents = [document for file in read.files for document in file]
    before, after = set(scalars(*written)), set(scalars(*documents))
    assert {text for _, text in before - after} == {"ai.example.com/v1"}
    lines = ORIGINAL.splitlines()
    for key, place in keys(*documents):
        there = lines[place.line - 1][place.column - 1 :]
        assert there.startswith((f"{key}:", *MOVED_FROM.get(key, ()))), (key, place)


MOVED_FROM = {
    "traffic": ("strategy:",),
    "fallback": ("fallbackChain:",),
    "chain": ("fallbackChain:",),
    "model": ("llama-70b", "llama-7b"),
    **dict.fromkeys(("apiVersion", "kind", "metadata", "spec"), ("gateway:",)),
}
"""What stands at the place of a key that nobody wrote."""


def scalars(*nodes: Node) -> Iterator[tuple[Position, str]]:
    for node in nodes:
        if isinstance(node, Scalar):
            yield node.position, node.text
        else:
            yield from scalars(*(node.items if isinstance(node, Sequence) else node.entries.values()))


def keys(*nodes: Node) -> Iterator[tuple[str, Position]]:
    for node in nodes:
        if isinstance(node, Mapped):
            yield from ((key, node.keys[key]) for key in node.entries)
            yield from keys(*node.entries.values())
        elif isinstance(node, Sequence):
            yield from keys(*node.items)


def test_what_a_members_traffic_breaks_is_told_once_and_where_the_orchestrator_says_it() -> None:
    spec = "models: [{name: a}, {name: b}]\nrouting: {defaultModel: a}\nloadBalancing:\n  strategy: consistent_hash\n"
    found = set(linked(orchestrator(spec), foreign_model("a"), foreign_model("b"))[1])
    assert [(d.code, d.position.line, d.position.column) for d in found] == [("P212", 8, 15)]


def test_documents_of_turnout_itself_are_left_as_they_are() -> None:
    written, _ = parse("---\n".join([model(), document("ModelOrchestrator", "auto", CHAT)]), "x")
    assert native((written,), Kept(), []).files == (written,)


@pytest.mark.parametrize(
    "line", ["fallbackChain: [chat]", "loadBalancing: {}", "healthCheck: {}", "gateway: {replicas: 3}"]
)
def test_turnout_has_no_second_spelling(line: str) -> None:
    refused = codes(model(), document("ModelOrchestrator", "auto", CHAT + line))
    assert refused == (["P102"] if line.startswith("gateway") else ["P101"])


def test_a_bare_condition_field_is_refused_in_turnouts_own_documents() -> None:
    rule = "{conditions: [{field: team, operator: eq, value: search}], target: chat}"
    spec = f"models: [{{name: chat}}]\nrouting: {{defaultModel: chat, rules: [{rule}]}}"
    assert codes(model(), document("ModelOrchestrator", "auto", spec)) == ["P103"]


def test_an_invalid_orchestrator_and_its_gateway_are_not_dangling() -> None:
    broken = orchestrator(CHAT + "gateway: {replica: 3}")
    other = document("ModelOrchestrator", "other", "gateway: auto\nmodels: [{name: chat, weight: 100}]")
    assert codes(foreign_model("chat"), broken, other) == ["P101"]
    assert policies(broken).names[ModelOrchestrator] == {"auto"}


def test_two_orchestrators_that_agree_on_a_member_are_no_contradiction() -> None:
    first, second = (orchestrator(CHAT + "loadBalancing: {strategy: round_robin}", name) for name in ("one", "two"))
    assert codes(foreign_model("chat"), first, second) == ["P218"]
    differ = second.replace("round_robin", "weighted_random")
    assert codes(foreign_model("chat"), first, differ) == ["P218", "P229"]
    own = foreign_model("chat", "traffic: {loadBalancing: {strategy: least_connections}}")
    assert codes(own, first, differ) == ["P218"]


@pytest.mark.parametrize(
    "text",
    [
        "metadata: {name: auto}",
        "metadata: auto\nspec: {models: [{name: chat}], gateway: {replicas: 3}}",
        "metadata: {name: [auto]}\nspec: {models: [{name: chat}], gateway: 3}",
        "metadata: {name: auto}\nspec: []",
        "metadata: {name: auto}\nspec: {models: {}, routing: [], loadBalancing: [], gateway: []}",
        "metadata: {name: auto}\nspec: {models: [chat], routing: {rules: [1, {conditions: [1]}, {conditions: 2}]}}",
        "metadata: {name: auto, annotations: []}\nspec: null\nstatus: null",
    ],
)
def test_a_document_of_another_shape_is_refused_and_breaks_nothing(text: str) -> None:
    for kind in foreign.KINDS:
        _, found = linked(model("other"), f"apiVersion: ai.example.com/v1\nkind: {kind}\n{text}\n")
        refused = {d.code for d in found if d.severity is Severity.ERROR}
        assert refused
        assert refused <= {"P101", "P102", "P113"}
