"""Whether text is PromQL: asked by whatever renders or reads a query, so that Prometheus is never the first to tell."""

from __future__ import annotations

import promql_parser


def problem(text: str) -> str | None:
    """Why Prometheus would refuse `text` as a query, in a few words; None where it would take it.

    Names of metrics are not judged: which series exist is known to a running Prometheus alone.
    """
    try:
        promql_parser.parse(text)
    except ValueError as refusal:
        return str(refusal)
    return None
