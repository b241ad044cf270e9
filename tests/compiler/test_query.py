"""A rollout's own query: what its variables stand for, and what no engine can judge by."""

from __future__ import annotations

import pytest

from compiler.diagnostics import BUILT_IN
from compiler.fleet import RolloutEngine
from compiler.link.query import query_problem
from tests.compiler.policies import model, one_model

CHAT = one_model(model("chat-7b"))


def problem(query: str, engine: RolloutEngine = RolloutEngine.FLAGGER) -> str:
    found = query_problem(query, CHAT, engine, BUILT_IN)
    return found.message if found else ""


@pytest.mark.parametrize(
    "query",
    [
        'sum(rate(x{namespace="{{ namespace }}", pod=~"{{target}}-.*"}[{{- interval -}}]))',
        'up{a="{{ name }}", b="{{ service }}", c="{{ ingress }}", d="{{ route }}"}',
        "vector(1)",
        # Of Go's, and no mistake that can be known here.
        'up{pod=~"{{ target | printf "%s-primary" }}"}',
        'sum(rate(x[{{ printf "%s" interval }}]))',
        "{{/* of nspace */}}sum(x)",
        '{{ $of := target }}up{pod="{{ $of }}", share="{{ if eq 1.5 1.5 }}a{{ else }}b{{ end }}"}',
    ],
)
def test_what_flagger_can_judge_by_has_no_problem(query: str) -> None:
    assert problem(query) == ""


@pytest.mark.parametrize(
    ("query", "why"),
    [
        ('sum(x{ns="{{ nspace }}"})', "no PromQL: 'nspace' of {{ nspace }} stands for nothing"),
        ('sum(x{ns="{{ .Namespace }}"})', "no PromQL: '.Namespace' of {{ .Namespace }} stands for nothing"),
        ('sum(x{ns="{{ variables.ns }}"})', "no PromQL: '.ns' of {{ variables.ns }} stands for nothing"),
        ('sum(x{ns="{{ namespace | trim }}"})', "no PromQL: 'trim' of {{ namespace | trim }} stands for nothing"),
        ('sum(x{ns="{{ namespace"})', "no PromQL: '{{' without '}}'"),
        ("x[{{ interval }}]", "no number: the answer would be a range vector"),
        ("max_over_time(x[5m])[1h:]", "no number: the answer would be a range vector"),
        ('"text"', "no number: the answer would be a string"),
        ("scalar(sum(x))", "no number for Flagger: the answer would be a scalar"),
        ("{{" * 1_000_000, "no PromQL: it has 2,000,000 characters, 4,096 are the limit"),
    ],
)
def test_what_flagger_can_never_judge_by_is_told(query: str, why: str) -> None:
    assert problem(query) == why


def test_a_scalar_is_a_number_to_turnout() -> None:
    assert problem("scalar(sum(x))", RolloutEngine.TURNOUT) == ""
    assert problem("x[5m]", RolloutEngine.TURNOUT) == "no number: the answer would be a range vector"
