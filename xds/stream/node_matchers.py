"""Which Envoys a request to the client status discovery service is about.

https://www.envoyproxy.io/docs/envoy/latest/api-v3/type/matcher/v3/node.proto
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from google.protobuf.struct_pb2 import Value

from compiler import regex

Matches = Callable[[Any], bool]
"""Of an envoy.config.core.v3.Node; of a google.protobuf.Value; of a text."""

PATTERNS = ("exact", "prefix", "suffix", "contains")


def any_of(matchers: Sequence[Any]) -> Matches:
    """Of `NodeMatcher`s; without any, of every node. Raises ValueError for what cannot be evaluated."""
    each = [_node(matcher) for matcher in matchers]
    return lambda node: not each or any(matches(node) for matches in each)


def _node(matcher: Any) -> Matches:
    by_id = _text(matcher.node_id) if matcher.HasField("node_id") else None
    by_metadata = [_metadata(part) for part in matcher.node_metadatas]

    def matches(node: Any) -> bool:
        return (by_id is None or by_id(node.id)) and all(part(node) for part in by_metadata)

    return matches


def _metadata(matcher: Any) -> Matches:
    """Of a node whose metadata has a value that matches at the path."""
    keys, value = [segment.key for segment in matcher.path], _value(matcher.value)
    if not keys:
        raise ValueError("node_metadatas: a matcher without a path")

    def matches(node: Any) -> bool:
        found = Value(struct_value=node.metadata)
        for key in keys:
            fields = found.struct_value.fields if found.WhichOneof("kind") == "struct_value" else {}
            if key not in fields:
                return value(None)
            found = fields[key]
        return value(found)

    return matches


def _value(matcher: Any) -> Matches:
    """Of `None` too, which is no value at all."""
    pattern = matcher.WhichOneof("match_pattern")
    match pattern:
        case "null_match":
            return lambda value: _kind(value) == "null_value"
        case "double_match":
            number = _number(matcher.double_match)
            return lambda value: _kind(value) == "number_value" and number(value.number_value)
        case "string_match":
            text = _text(matcher.string_match)
            return lambda value: _kind(value) == "string_value" and text(value.string_value)
        case "bool_match":
            return lambda value: _kind(value) == "bool_value" and value.bool_value == matcher.bool_match
        case "present_match":
            # "If the path is referring to a non-primitive value, the result is always not matched."
            # https://www.envoyproxy.io/docs/envoy/latest/api-v3/type/matcher/v3/value.proto
            compound = ("struct_value", "list_value")
            return lambda value: _kind(value) not in compound and (value is not None) == matcher.present_match
        case "list_match":
            return _list(matcher.list_match)
        case "or_match":
            each = [_value(one) for one in matcher.or_match.value_matchers]
            return lambda value: any(matches(value) for matches in each)
    raise ValueError("node_metadatas: a value matcher that says nothing, or what this server does not know")


def _kind(value: Any) -> str | None:
    kind: str | None = None if value is None else value.WhichOneof("kind")
    return kind


def _number(matcher: Any) -> Matches:
    match matcher.WhichOneof("match_pattern"):
        case "exact":
            return lambda number: number == matcher.exact
        case "range":
            return lambda number: matcher.range.start <= number < matcher.range.end
    raise ValueError("node_metadatas: a number matcher that says nothing")


def _list(matcher: Any) -> Matches:
    if matcher.WhichOneof("match_pattern") != "one_of":
        raise ValueError("node_metadatas: a list matcher that is not one_of")
    one = _value(matcher.one_of)
    return lambda value: _kind(value) == "list_value" and any(map(one, value.list_value.values))


def _text(matcher: Any) -> Matches:
    pattern = matcher.WhichOneof("match_pattern")
    if pattern == "safe_regex":
        return _regex(matcher.safe_regex.regex)
    if pattern not in PATTERNS:
        raise ValueError(f"a string matcher with {pattern or 'no pattern'}, not {', '.join(PATTERNS)} or safe_regex")
    folded = str.lower if matcher.ignore_case else str
    wanted = folded(getattr(matcher, pattern))
    match pattern:
        case "exact":
            return lambda text: folded(text) == wanted
        case "prefix":
            return lambda text: folded(text).startswith(wanted)
        case "suffix":
            return lambda text: folded(text).endswith(wanted)
    return lambda text: wanted in folded(text)


def _regex(pattern: str) -> Matches:
    """RE2, over the whole text, as Envoy does it."""
    if problem := regex.problem(pattern):
        raise ValueError(f"safe_regex {pattern[:200]!r}: {problem}")
    return lambda text: regex.matches(pattern, text)
