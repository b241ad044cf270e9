"""What is PromQL, and what Prometheus would refuse."""

from __future__ import annotations

import pytest

from compiler.promql import problem


@pytest.mark.parametrize(
    "text",
    [
        "up",
        "42",
        "sum by (model) (rate(vllm:request_success_total[5m]))",
        "1000 * histogram_quantile(0.95, sum by (le) (rate(tgi_request_duration_bucket[5m])))",
        'label_replace(up, "model", "$1", "pod", "(.*)-.*")',
        "max_over_time((up == bool 0)[10m:15s] offset 5m)",
    ],
)
def test_a_query_has_no_problem(text: str) -> None:
    assert problem(text) is None


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no expression found in input"),
        ("sum(up", "unclosed left parenthesis"),
        ("rate(up)", "expected type matrix in call to function 'rate', got vector"),
        ("p95(up)", "unknown function with name 'p95'"),
        ('up{pod=~"("}', "illegal regex for ("),
        ("success rate over 99", "invalid promql query"),
    ],
)
def test_what_prometheus_would_refuse_has_one(text: str, why: str) -> None:
    assert problem(text) == why
