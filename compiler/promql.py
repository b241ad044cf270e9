"""What is PromQL, and of which type its answer: asked by whatever renders or reads a query, so that Prometheus is never
the first to tell."""

from __future__ import annotations

from enum import StrEnum

import promql_parser

LONGEST = 4096
"""Characters. The parser goes as deep as a query nests, and a far longer one would end the process."""


class Answer(StrEnum):
    """https://prometheus.io/docs/prometheus/latest/querying/basics/#expression-language-data-types"""

    SCALAR = "scalar"
    VECTOR = "instant vector"
    MATRIX = "range vector"
    STRING = "string"


def too_long(text: str) -> str:
    """Why `text` is not even read, or nothing."""
    return f"it has {len(text):,} characters, {LONGEST:,} are the limit" if len(text) > LONGEST else ""


class RefusalError(ValueError):
    """Why Prometheus would refuse a query, in a few words."""


def answer(text: str) -> Answer:
    """What a query is answered with; raises `RefusalError` where it is none.

    Names of metrics are not judged: which series exist is known to a running Prometheus alone.
    """
    if why := too_long(text):
        raise RefusalError(why)
    try:
        return _type(promql_parser.parse(text))
    except ValueError as refusal:
        raise RefusalError(str(refusal)) from None


def _type(query: promql_parser.Expr) -> Answer:
    parts = [query]
    while parts:
        match parts.pop():
            case promql_parser.ParenExpr() | promql_parser.UnaryExpr() as outer:
                parts.append(outer.expr)
            case promql_parser.BinaryExpr() as both:
                parts += (both.lhs, both.rhs)
            case promql_parser.NumberLiteral():
                pass
            case promql_parser.Call() as call if call.func.return_type == promql_parser.ValueType.Scalar:
                pass
            case promql_parser.StringLiteral():
                return Answer.STRING
            case promql_parser.MatrixSelector() | promql_parser.SubqueryExpr():
                return Answer.MATRIX
            case _:
                return Answer.VECTOR
    return Answer.SCALAR
