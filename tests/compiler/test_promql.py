"""What is PromQL, of which type its answer is, and what Prometheus would refuse."""

from __future__ import annotations

import pytest

from compiler.promql import LONGEST, Answer, RefusalError, answer


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("up", Answer.VECTOR),
        ("-(up)", Answer.VECTOR),
        ("1 + up", Answer.VECTOR),
        ("vector(1)", Answer.VECTOR),
        ("sum by (model) (rate(vllm:request_success_total[5m]))", Answer.VECTOR),
        ("1000 * histogram_quantile(0.95, sum by (le) (rate(tgi_request_duration_bucket[5m])))", Answer.VECTOR),
        ('label_replace(up, "model", "$1", "pod", "(.*)-.*")', Answer.VECTOR),
        ("max_over_time((up == bool 0)[10m:15s] offset 5m)", Answer.VECTOR),
        ("42", Answer.SCALAR),
        ("-(1 + scalar(up) * time())", Answer.SCALAR),
        ("up[5m]", Answer.MATRIX),
        ("(up[5m] offset 1m)", Answer.MATRIX),
        ("rate(up[5m])[10m:]", Answer.MATRIX),
        ('("text")', Answer.STRING),
    ],
)
def test_a_query_has_a_type(text: str, kind: Answer) -> None:
    assert answer(text) is kind


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no expression found in input"),
        ("sum(up", "unclosed left parenthesis"),
        ("rate(up)", "expected type matrix in call to function 'rate', got vector"),
        ("p95(up)", "unknown function with name 'p95'"),
        ('up{pod=~"("}', "illegal regex for ("),
        ("success rate over 99", "invalid promql query"),
        ("+".join(["up"] * 20_000), "it has 59,999 characters, 4,096 are the limit"),
    ],
)
def test_what_prometheus_would_refuse_is_told(text: str, why: str) -> None:
    with pytest.raises(RefusalError) as refused:
        answer(text)
    assert str(refused.value) == why


def test_a_query_of_the_utmost_length_and_depth_has_a_type() -> None:
    depth = LONGEST // 2 - 1
    assert answer("(" * depth + "up" + ")" * depth) is Answer.VECTOR
