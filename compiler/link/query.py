"""A metric's own query: PromQL, in which Flagger's variables stand for what a rollout is judged by."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from compiler.diagnostics import Diagnostic, Position, error
from compiler.fleet import Model, RolloutEngine, slug
from compiler.promql import Answer, RefusalError, answer, too_long
from compiler.spelling import nearest

_ACTION = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_QUOTED = re.compile(r'"(?:\\.|[^"\\])*"|`[^`]*`|/\*.*?\*/', re.DOTALL)
_WORD = re.compile(r"(?<![\w$.])[A-Za-z_]\w*|(?<![0-9])\.[A-Za-z_]\w*")
"""Functions; and, after a dot, fields: a template has none, as no data is given to it."""
_GO = re.compile(
    "if|else|end|range|with|define|template|block|break|continue|nil|true|false|and|or|not|eq|ne|ge|gt|le|lt|len|index"
    "|slice|call|print|printf|println|html|js|urlquery|variables"
)
"""What a template knows beside the variables: https://pkg.go.dev/text/template."""
_VARIABLES = "{{ namespace }}, {{ target }} or {{ interval }}"
_NO_NUMBER = {
    Answer.MATRIX: "a function of the range: avg_over_time(…)",
    Answer.STRING: "a query of a metric",
    Answer.SCALAR: "vector(…)",
}


def query_problem(query: str, model: Model, engine: RolloutEngine, place: Position) -> Diagnostic | None:
    """Why `engine` would get no number from it, whatever Prometheus knows."""
    if why := too_long(query):
        return error("P460", place, f"no PromQL: {why}")
    values = _values(model)
    actions = [_trimmed(action) for action in _ACTION.findall(query)]
    if (problem := _template_problem(query, actions, values, place)) is not None:
        return problem
    if not values.keys() >= set(actions):
        return None  # what a longer template becomes is known to Flagger alone
    return _promql_problem(asked(query, model), engine, place)


def asked(query: str, model: Model) -> str:
    """`query` with values for its variables, which are all that may be in it."""
    values = _values(model)
    return _ACTION.sub(lambda action: values[_trimmed(action[1])], query)


def _trimmed(action: str) -> str:
    return action.removeprefix("- ").removesuffix(" -").strip()


def _values(model: Model) -> Mapping[str, str]:
    name = slug(model.name)
    names = dict.fromkeys(("name", "target", "service", "ingress", "route"), name)
    return {**names, "namespace": model.namespace, "interval": "1m"}


def _template_problem(
    query: str, actions: Iterable[str], values: Mapping[str, str], place: Position
) -> Diagnostic | None:
    """Why Flagger would not read it: https://github.com/fluxcd/flagger/blob/main/pkg/metrics/observers/render.go"""
    for action in actions:
        for word in _WORD.findall(_QUOTED.sub("", action)):
            if word not in values and not _GO.fullmatch(word):
                said = f"no PromQL: '{word}' of {{{{ {action} }}}} stands for nothing"
                return error("P460", place, said, nearest(word, values) or _VARIABLES)
    if "{{" in _ACTION.sub("", query):
        return error("P460", place, "no PromQL: '{{' without '}}'", _VARIABLES)
    return None


def _promql_problem(query: str, engine: RolloutEngine, place: Position) -> Diagnostic | None:
    try:
        kind = answer(query)
    except RefusalError as why:
        return error("P460", place, f"no PromQL: {why}")
    if kind is Answer.VECTOR or (kind is Answer.SCALAR and engine is not RolloutEngine.FLAGGER):
        return None
    # Samples of series are all that Flagger reads:
    # https://github.com/fluxcd/flagger/blob/main/pkg/metrics/providers/prometheus.go
    whose = " for Flagger" if kind is Answer.SCALAR else ""
    return error("P460", place, f"no number{whose}: the answer would be a {kind}", _NO_NUMBER[kind])
