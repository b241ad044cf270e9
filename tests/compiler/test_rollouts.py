"""Rollouts: what policy becomes, what is refused, and whether a step has requests enough for a verdict."""

from __future__ import annotations

import math
from datetime import timedelta
from pathlib import Path

import pytest

from compiler.diagnostics import BUILT_IN
from compiler.evaluate import evaluate
from compiler.explain import as_text
from compiler.explain import document as explained
from compiler.fleet import AnalysisSource, Fleet, HashKey, HashSource, Rollout, RolloutMetric
from compiler.kinds import Rollout as RolloutKind
from compiler.pipeline import compile_policies
from compiler.prove import prove
from compiler.prove.rollouts import needed
from compiler.request import Request
from compiler.show import as_text as shown
from compiler.show import rollout_values
from tests.compiler.policies import codes, document, fleet, model

ISTIO = document("Platform", "platform", "dataPlane: {default: istio}\nprometheus: {address: 'http://prometheus:9090'}")


def chat(spec: str = "", weights: tuple[int, int] = (100, 0)) -> str:
    versions = f"versions: [{{name: '1', weight: {weights[0]}}}, {{name: '2', weight: {weights[1]}}}]"
    return model("chat", f"{spec}\n{versions}" if spec else versions)


def rollout(spec: str = "", name: str = "chat-2") -> str:
    return document("Rollout", name, "model: chat\nfrom: '1'\nto: '2'\n" + spec)


def only(*documents: str) -> Rollout:
    (found,) = fleet(*documents).rollouts
    return found


def told(of: Fleet) -> list[str]:
    return [d.message for d in prove(of) if d.code in ("P407", "P433", "P434", "P436")]


def test_a_rollout_of_three_lines_has_every_default() -> None:
    found = only(rollout(), chat())
    assert (found.steps, found.interval) == ((10, 25, 50, 75, 100), timedelta(seconds=30))
    assert found.analysis.source is AnalysisSource.LRS
    assert [(m.name, m.min, m.max) for m in found.analysis.metrics] == [("success-rate", 99, None)]
    assert (found.analysis.threshold, found.analysis.confidence) == (3, 95)
    assert found.drain_timeout == timedelta(minutes=2)


def test_flagger_reads_prometheus_where_policy_says_nothing() -> None:
    assert only(rollout("engine: flagger"), chat(), ISTIO).analysis.source is AnalysisSource.PROMETHEUS


def test_a_webhook_judges_alone() -> None:
    analysis = only(rollout("analysis: {source: webhook, webhook: {url: http://verdicts}}"), chat()).analysis
    assert (analysis.metrics, analysis.webhook) == ((), "http://verdicts")


@pytest.mark.parametrize(("load", "ready"), [("60s", 300), ("300s", 375), ("1000s", 1250)])
def test_a_version_gets_the_time_it_needs_to_load(load: str, ready: int) -> None:
    assert only(rollout(), chat(f"coldStart: {{cold: {load}}}")).ready_timeout == timedelta(seconds=ready)


def test_a_cohort_is_told_by_a_header_or_a_cookie() -> None:
    assert only(rollout("stickyBy: {cookie: user}"), chat()).sticky_by == HashKey(HashSource.COOKIE, "user")
    assert codes(rollout("stickyBy: {header: x-request-id}"), chat()) == ["P116", "P213"]


def test_a_rollout_moves_its_model_and_no_other() -> None:
    of = fleet(rollout(), chat(), model("other"))
    assert [(m.name, m.rollout is not None) for m in of.models] == [("chat", True), ("other", False)]


def test_what_flagger_moves_has_one_version_with_workloads() -> None:
    (moved,) = fleet(rollout("engine: flagger"), chat(), ISTIO).models
    assert [version.name for version in moved.deployed] == ["2"]
    (left,) = fleet(rollout(), chat()).models
    assert [version.name for version in left.deployed] == ["1", "2"]


@pytest.mark.parametrize(
    ("spec", "code"),
    [
        ("steps: [10, 10]", "P107"),
        ("steps: [50, 10]", "P107"),
        ("steps: []", "P104"),
        ("steps: [0, 100]", "P104"),
        ("steps: [101]", "P104"),
        ("pauseAfter: [11]", "P203"),
        ("interval: 1min", "P105"),
        ("interval: 0s", "P104"),
        ("readyTimeout: 10s", "P406"),
        ("analysis: {confidence: 100}", "P104"),
        ("analysis: {metrics: [{name: ttft}]}", "P224"),
        ("analysis: {metrics: [{name: waiting, max: 1}]}", "P103"),
        ("analysis: {metrics: [{name: ttft, min: 2, max: 1}]}", "P104"),
        ("analysis: {metrics: [{name: own, max: 1, query: up}]}", "P201"),
        ("analysis: {source: prometheus, metrics: [{name: own, max: 1, query: 'up{'}]}", "P460"),
        ("analysis: {source: webhook}", "P113"),
        ("analysis: {webhook: {url: http://a}}", "P201"),
        ("analysis: {source: webhook, webhook: {url: ftp://a}}", "P104"),
    ],
)
def test_a_mistake_is_told_by_its_code(spec: str, code: str) -> None:
    assert code in codes(rollout(spec), chat())


@pytest.mark.parametrize("weights", [(90, 10), (0, 100), (50, 50)])
def test_committed_weights_are_the_start_of_the_rollout(weights: tuple[int, int]) -> None:
    for engine in ("turnout", "flagger"):
        assert "P222" in codes(rollout(f"engine: {engine}"), chat(weights=weights), ISTIO)


def test_only_flagger_can_be_handed_a_model_that_stays_as_it_is() -> None:
    same = "model: chat\nfrom: '1'\nto: '1'\n"
    one = model("chat", "replicas: 2")
    assert "P222" in codes(document("Rollout", "chat", same), one)
    assert only(document("Rollout", "chat", same + "engine: flagger"), one, ISTIO).to_version == "1"


def test_flaggers_variables_are_no_mistake_of_promql() -> None:
    query = 'sum(rate(x{namespace="{{ namespace }}", pod=~"{{target}}-.*"}[{{ interval }}]))'
    metrics = f"analysis: {{source: prometheus, metrics: [{{name: own, max: 1, query: '{query}'}}]}}"
    assert codes(rollout(metrics), chat()) == ["P116"]


def test_a_rollout_stands_where_its_model_does() -> None:
    elsewhere = rollout().replace("{name: chat-2}", "{name: chat-2, namespace: other}")
    assert "P104" in codes(elsewhere, chat())
    there = chat().replace("{name: chat}", "{name: chat, namespace: other}")
    assert codes(elsewhere, there) == ["P116"]


def test_a_broken_model_is_told_once() -> None:
    assert codes(rollout(), chat("replicas: many")) == ["P102"]


def test_a_warning_says_that_turnout_moves_nothing_yet_and_flagger_has_none() -> None:
    assert codes(rollout(), chat()) == ["P116"]
    assert codes(rollout("engine: flagger"), chat(), ISTIO) == []


@pytest.mark.parametrize(
    ("metric", "count"),
    [
        (RolloutMetric("success-rate", 99, None, None, BUILT_IN), 299),
        (RolloutMetric("success-rate", 99.9, None, None, BUILT_IN), 2995),
        (RolloutMetric("success-rate", 100, None, None, BUILT_IN), math.inf),
        (RolloutMetric("duration", None, 500, None, BUILT_IN), 299),
        (RolloutMetric("ttft", None, 500, None, BUILT_IN), 59),
        (RolloutMetric("kv-usage", None, 90, None, BUILT_IN), None),
        (RolloutMetric("own", None, 90, "up", BUILT_IN), None),
    ],
)
def test_a_verdict_needs_so_many_requests_that_luck_is_ruled_out(metric: RolloutMetric, count: float | None) -> None:
    assert needed(metric, 95) == count


@pytest.mark.parametrize(
    ("qps", "interval", "said"),
    [
        (10, "30s", ["10 × 10 % × 30s = 30 requests; success-rate needs ≈ 299: 299s"]),
        (10, "5m", []),
        (100, "30s", []),
        (0, "30s", ["0 × 10 % × 30s = 0 requests; success-rate needs ≈ 299: never"]),
    ],
)
def test_a_step_with_too_few_requests_is_told_with_the_time_it_takes(qps: int, interval: str, said: list[str]) -> None:
    assert told(fleet(rollout(f"interval: {interval}"), chat(f"expectedQps: {{typical: {qps}}}"))) == said


def test_without_expected_requests_nothing_is_proved_and_that_is_said() -> None:
    assert told(fleet(rollout(), chat())) == [
        "chat: whether a step of its rollout has requests enough needs expectedQps"
    ]


def test_steps_that_end_before_the_whole_stay_there_but_not_with_flagger() -> None:
    busy = chat("expectedQps: {typical: 1000}")
    assert told(fleet(rollout("steps: [10, 50]"), busy)) == ["steps end at 50 %: it stays there until promoted"]
    assert told(fleet(rollout("steps: [10, 50]\nengine: flagger"), busy, ISTIO)) == []


def test_copies_of_requests_are_counted() -> None:
    busy = chat("expectedQps: {typical: 1000}")
    assert told(fleet(rollout("shadowPercent: 20"), busy)) == ["mirroring adds 200 requests/s to chat 2"]


def test_explain_says_who_moves_the_model() -> None:
    of = fleet(rollout("engine: flagger"), chat(), ISTIO)
    request = Request(model="chat")
    found = explained(request, evaluate(of, request, of.gateways[0]), str)
    assert found["targets"][0]["rollout"]["to"] == "2"
    assert "rollout chat-2, from 1 to 2: Flagger moves it and says the shares meanwhile" in as_text(found)


@pytest.mark.parametrize("spec", ["", "engine: flagger\nanalysis: {metrics: [{name: ttft, max: 900}]}"])
def test_what_show_prints_of_a_rollout_is_a_policy_that_means_the_same(spec: str, tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()

    def compiled(own: str) -> tuple[Rollout, str]:
        (policies / "x.yaml").write_text("---\n".join([own, chat(), ISTIO if spec else ""]))
        result = compile_policies(policies)
        assert result.fleet is not None, result.diagnostics
        (found,) = result.fleet.rollouts
        policy = result.policies.of(RolloutKind)[found.name]
        return found, shown(rollout_values(policy, found, result.policies, policies))

    first, text = compiled(rollout(spec))
    second, again = compiled("apiVersion: turnout.dev/v1\nkind: Rollout\n" + text)
    for name in ("steps", "interval", "ready_timeout", "drain_timeout", "engine", "strategy"):
        assert getattr(first, name) == getattr(second, name)
    assert [(m.name, m.min, m.max) for m in first.analysis.metrics] == [
        (m.name, m.min, m.max) for m in second.analysis.metrics
    ]
    assert "# default" in text
    assert "engine" in again
