"""protoc-gen-validate's rules as questions: the constraints that Envoy's API writes at its fields.

https://github.com/bufbuild/protoc-gen-validate/blob/v1.0.4/README.md#constraint-rules. Those that no field of Envoy's
API has are not here; `tests/xds/soundness/test_rules.py` says when one of them comes up.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from validate import validate_pb2

Rule = Callable[[Any], str | None]
"""What is wrong with a value, in words: `at most 100, not 101`; None where nothing is."""


class UnknownRuleError(NotImplementedError):
    """Envoy's API has a rule that nobody here knows."""


NUMBERS = frozenset(
    f"{sign}{kind}{bits}" for sign in ("", "s", "u") for kind in ("int", "fixed") for bits in (32, 64)
) | {"float", "double"}
OTHERS_READ = frozenset({"strict", "ignore_empty", "required", "skip", "items", "keys", "values"})
"""Parts of rules that are read where another part, or the field, is."""

_NAME = validate_pb2.HTTP_HEADER_NAME
HEADERS = {
    (_NAME, True): re.compile(r":?[0-9a-zA-Z!#$%&'*+-.^_|~`]+"),
    (_NAME, False): re.compile(r"[^\x00\n\r]*"),
    (validate_pb2.HTTP_HEADER_VALUE, True): re.compile(r"[^\x00-\x08\n-\x1f\x7f]*"),
    (validate_pb2.HTTP_HEADER_VALUE, False): re.compile(r"[^\x00\n\r]*"),
}
"""Well-known patterns, strict or not, as protoc-gen-validate has them: not strict, a name may be empty."""


def rules_of(field: FieldDescriptor) -> Message | None:
    """A FieldRules; None for a field that has none."""
    options = field.GetOptions()
    if not options.HasExtension(validate_pb2.rules):
        return None
    found: Message = options.Extensions[validate_pb2.rules]
    return found


def kind_of(rules: Any) -> str | None:
    """`uint32`, `string`, `repeated`, …; None where the rules are about the message alone."""
    kind: str | None = rules.WhichOneof("type")
    return kind


def value_rule(field: FieldDescriptor, rules: Any) -> Rule | None:
    """Of one value: of a field that is not repeated, or of an item of one that is. Raises UnknownRuleError."""
    kind = kind_of(rules)
    if kind is None:
        return None
    own = getattr(rules, kind)
    found = tuple(_rules(kind, own, field))
    if not found:
        return None
    if kind == "string" and own.ignore_empty:
        return lambda value: _first(found, value) if value else None
    return found[0] if len(found) == 1 else lambda value: _first(found, value)


def count_rule(rules: Any) -> Rule | None:
    """Of a repeated field or a map as a whole. Raises UnknownRuleError."""
    kind = kind_of(rules)
    own = getattr(rules, kind) if kind in ("repeated", "map") else None
    found = () if own is None else tuple(_counts(part.name, limit) for part, limit in _parts(own))
    return (lambda values: _first(found, values)) if found else None


def _first(rules: tuple[Rule, ...], value: Any) -> str | None:
    for rule in rules:
        if (wrong := rule(value)) is not None:
            return wrong
    return None


def _parts(own: Message) -> Iterator[tuple[FieldDescriptor, Any]]:
    return ((part, limit) for part, limit in own.ListFields() if part.name not in OTHERS_READ)


def _counts(name: str, limit: Any) -> Rule:
    match name:
        case "min_items" | "min_pairs":
            return lambda values: None if len(values) >= limit else f"at least {limit}, not {len(values)}"
        case "max_items":
            return lambda values: None if len(values) <= limit else f"at most {limit}, not {len(values)}"
        case "unique":
            return lambda values: None if len({*values}) == len(values) else "each of them once"
    raise UnknownRuleError(name)


def _rules(kind: str, own: Message, field: FieldDescriptor) -> Iterator[Rule]:
    for part, limit in _parts(own):
        if kind in NUMBERS:
            yield _number(part.name, limit)
        elif kind == "duration":
            yield _duration(part.name, limit)
        elif kind == "enum":
            yield _enum(part.name, limit, field)
        elif kind in ("string", "bytes"):
            yield _text(part.name, limit, own)
        elif kind == "bool" and part.name == "const":
            yield _flag(limit)
        elif kind not in ("repeated", "map", "any"):
            raise UnknownRuleError(f"{kind}.{part.name}")


def _flag(wanted: bool) -> Rule:
    return lambda value: None if value == wanted else f"{wanted}, not {value}"


def _number(name: str, limit: float) -> Rule:
    match name:
        case "gt":
            return lambda value: None if value > limit else f"more than {_shown(limit)}, not {_shown(value)}"
        case "gte":
            return lambda value: None if value >= limit else f"at least {_shown(limit)}, not {_shown(value)}"
        case "lt":
            return lambda value: None if value < limit else f"less than {_shown(limit)}, not {_shown(value)}"
        case "lte":
            return lambda value: None if value <= limit else f"at most {_shown(limit)}, not {_shown(value)}"
    raise UnknownRuleError(name)


def _shown(value: float) -> str:
    return f"{value:g}" if isinstance(value, float) else f"{value:,}"


def _duration(name: str, limit: Any) -> Rule:
    edge, told = (limit.seconds, limit.nanos), seconds(limit)
    match name:
        case "gt":
            return lambda v: None if (v.seconds, v.nanos) > edge else f"more than {told}, not {seconds(v)}"
        case "gte":
            return lambda v: None if (v.seconds, v.nanos) >= edge else f"at least {told}, not {seconds(v)}"
        case "lt":
            return lambda v: None if (v.seconds, v.nanos) < edge else f"less than {told}, not {seconds(v)}"
        case "lte":
            return lambda v: None if (v.seconds, v.nanos) <= edge else f"at most {told}, not {seconds(v)}"
    raise UnknownRuleError(name)


def seconds(value: Any) -> str:
    """A Duration, as protobuf's JSON has it."""
    return f"{value.seconds + value.nanos / 1e9:g}s"


def _enum(name: str, limit: Any, field: Any) -> Rule:
    known = frozenset(entry.number for entry in field.enum_type.values)
    match name:
        case "defined_only":
            return lambda value: None if value in known else f"one of {field.enum_type.name}, not {value}"
        case "not_in":
            barred = frozenset(limit)
            return lambda value: None if value not in barred else f"not {field.enum_type.values_by_number[value].name}"
    raise UnknownRuleError(name)


def _text(name: str, limit: Any, own: Any) -> Rule:
    """The value itself is never told: it may be a secret."""
    match name:
        case "min_len":
            return lambda value: None if len(value) >= limit else _length("at least", limit, len(value))
        case "max_len":
            return lambda value: None if len(value) <= limit else _length("at most", limit, len(value))
        case "min_bytes":
            return lambda value: None if _bytes(value) >= limit else _length("at least", limit, _bytes(value))
        case "max_bytes":
            return lambda value: None if _bytes(value) <= limit else _length("at most", limit, _bytes(value))
        case "prefix":
            return lambda value: None if value.startswith(limit) else f"begins with {limit!r}"
        case "suffix":
            return lambda value: None if value.endswith(limit) else f"ends with {limit!r}"
        case "in":
            allowed = frozenset(limit)
            return lambda value: None if value in allowed else f"one of {', '.join(limit)}"
        case "pattern":
            pattern = re.compile(limit)
            return lambda value: None if pattern.search(value) else f"as {limit}"
        case "well_known_regex":
            known = HEADERS[limit, own.strict if own.HasField("strict") else True]
            what = "name" if limit == _NAME else "value"
            return lambda value: None if known.fullmatch(value) else f"the {what} of a header"
    raise UnknownRuleError(name)


def _length(limit: str, characters: int, found: int) -> str:
    if characters == 1 and not found:
        return "not empty"
    return f"{limit} {characters:,} long, not {found:,}"


def _bytes(value: str) -> int:
    return len(value) if value.isascii() else len(value.encode())
