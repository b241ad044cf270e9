"""What a message breaks of the rules that Envoy's API writes at its fields, in all that is packed into it, too.

Envoy asks the same when it is sent a resource, and refuses the whole response. Each message type is looked through
once: what there is to ask of it is made one function, which passes over all that has no rules, as a metadata tree.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from validate import validate_pb2

from xds.soundness.rules import Rule, count_rule, kind_of, rules_of, value_rule

ANY = "google.protobuf.Any"
PACKED = 4096
"""Packed messages that are examined once, however often they come up."""


class Broken(NamedTuple):
    path: str
    """From the resource: `outlier_detection.max_ejection_percent`; empty for all of it."""
    rule: str
    """`at most 100, not 101`."""

    def __str__(self) -> str:
        return f"{self.path}: {self.rule}" if self.path else self.rule

    def within(self, path: str) -> Broken:
        joint = "." if self.path and not self.path.startswith("[") else ""
        return Broken(f"{path}{joint}{self.path}", self.rule)

    def after(self, path: str) -> Broken:
        """Seen from `path`, which it is within."""
        return Broken(self.path.removeprefix(path).removeprefix("."), self.rule)


class Examined(NamedTuple):
    broken: tuple[Broken, ...]
    noted: tuple[Any, ...]
    """What rules of our own have found that is not wrong by itself."""


FINE = Examined((), ())
Own = Callable[[Any], Iterable[Any]]
"""A rule of our own for one message type: what is `Broken`, and what else is to be noted."""
_Check = Callable[[Any, list[Broken], list[Any]], None]


class Constraints:
    """Envoy's rules, and `own` ones by the full name of a message type."""

    def __init__(self, own: Mapping[str, Own] | None = None) -> None:
        self._own = own or {}
        self._checks: dict[str, _Check | None] = {}
        self._packed = lru_cache(PACKED)(self.content)

    def examined(self, message: Message) -> Examined:
        check = self._check(message.DESCRIPTOR)
        if check is None:
            return FINE
        broken: list[Broken] = []
        noted: list[Any] = []
        check(message, broken, noted)
        return Examined(tuple(broken), tuple(noted))

    def content(self, type_url: str, content: bytes) -> Examined:
        """Of a message by its bytes, which may be none of that type."""
        try:
            return self.examined(unpacked(type_url, content))
        except KeyError:
            return Examined((Broken("", f"of a type that there is, not {type_url!r}"),), ())
        except DecodeError:
            return Examined((Broken("", f"a {type_url.rpartition('.')[2]}, which these bytes are not"),), ())

    def _check(self, type_: Any) -> _Check | None:
        """None for a message that nothing is to be asked of."""
        name = type_.full_name
        if name == ANY:
            return self._any
        if name not in self._checks:
            # A type may hold itself: as long as its own check is being made, it is asked for by name.
            self._checks[name] = lambda *found: self._later(name, *found)
            self._checks[name] = self._made(type_)
        return self._checks[name]

    def _later(self, name: str, message: Any, broken: list[Broken], noted: list[Any]) -> None:
        if (check := self._checks[name]) is not None:
            check(message, broken, noted)

    def _any(self, box: Any, broken: list[Broken], noted: list[Any]) -> None:
        found = self._packed(box.type_url, box.value)
        broken.extend(found.broken)
        noted.extend(found.noted)

    def _made(self, type_: Any) -> _Check | None:
        fields = {f.number: check for f in type_.fields if (check := self._field(f)) is not None}
        values = tuple((f.name, wrong) for f in type_.fields if (wrong := _wrong_if_absent(f)) is not None)
        messages = tuple(f.name for f in type_.fields if _required(f))
        oneofs = tuple(o.name for o in type_.oneofs if o.GetOptions().Extensions[validate_pb2.required])
        own = self._own.get(type_.full_name)
        if not (fields or values or messages or oneofs or own):
            return None

        def ask_all(message: Any, broken: list[Broken], noted: list[Any]) -> None:
            for field, value in message.ListFields():
                if (ask := fields.get(field.number)) is not None:
                    ask(value, broken, noted)
            for name, wrong in values:
                if not getattr(message, name):
                    broken.append(Broken(name, wrong))
            broken += [Broken(name, "not absent") for name in messages if not message.HasField(name)]
            broken += [Broken(name, "one of them, not none") for name in oneofs if message.WhichOneof(name) is None]
            if own is not None:
                for found in own(message):
                    (broken if isinstance(found, Broken) else noted).append(found)

        return ask_all

    def _field(self, field: Any) -> _Check | None:
        """Of a field that is there."""
        rules: Any = rules_of(field)
        if rules is not None and rules.message.skip:
            return None
        if _is_map(field):
            return self._map(field, rules)
        if field.is_repeated:
            return self._repeated(field, rules)
        rule = None if rules is None else _of_value(field, rules)
        return _one(field.name, rule, self._of_message(field))

    def _of_message(self, field: FieldDescriptor) -> _Check | None:
        return None if field.message_type is None else self._check(field.message_type)

    def _repeated(self, field: FieldDescriptor, rules: Any) -> _Check | None:
        count = None if rules is None else count_rule(rules)
        item = None if rules is None or kind_of(rules) != "repeated" else _of_value(field, rules.repeated.items)
        inside = self._of_message(field)
        if count is None and item is None and inside is None:
            return None
        return _several(field.name, count, item, inside, enumerate)

    def _map(self, field: Any, rules: Any) -> _Check | None:
        entry = field.message_type.fields_by_name
        own = None if rules is None else rules.map
        count = None if rules is None else count_rule(rules)
        key = None if own is None else _of_value(entry["key"], own.keys)
        value = None if own is None else _of_value(entry["value"], own.values)
        inside = self._of_message(entry["value"])
        values = None
        if value is not None or inside is not None:
            values = _several(field.name, None, value, inside, lambda found: found.items())
        if count is None and key is None and values is None:
            return None
        keys = _several(field.name, count, key, None, lambda found: zip(found, found, strict=True))

        def check(found: Any, broken: list[Broken], noted: list[Any]) -> None:
            keys(found, broken, noted)
            if values is not None:
                values(found, broken, noted)

        return check


def _one(name: str, rule: Rule | None, inside: _Check | None) -> _Check | None:
    if inside is None:
        if rule is None:
            return None

        def alone(value: Any, broken: list[Broken], _: list[Any]) -> None:
            if (wrong := rule(value)) is not None:
                broken.append(Broken(name, wrong))

        return alone

    def check(value: Any, broken: list[Broken], noted: list[Any]) -> None:
        if rule is not None and (wrong := rule(value)) is not None:
            broken.append(Broken(name, wrong))
        before = len(broken)
        inside(value, broken, noted)
        if len(broken) > before:
            broken[before:] = [found.within(name) for found in broken[before:]]

    return check


def _several(
    name: str,
    count: Rule | None,
    rule: Rule | None,
    inside: _Check | None,
    entries: Callable[[Any], Iterable[tuple[Any, Any]]],
) -> _Check:
    """`entries` are the values, each with its place."""

    def check(values: Any, broken: list[Broken], noted: list[Any]) -> None:
        if count is not None and (wrong := count(values)) is not None:
            broken.append(Broken(name, wrong))
        if rule is None and inside is None:
            return
        for place, value in entries(values):
            if rule is not None and (wrong := rule(value)) is not None:
                broken.append(Broken(f"{name}[{place}]", wrong))
            if inside is not None:
                before = len(broken)
                inside(value, broken, noted)
                if len(broken) > before:
                    broken[before:] = [found.within(f"{name}[{place}]") for found in broken[before:]]

    return check


def _of_value(field: FieldDescriptor, rules: Any) -> Rule | None:
    """A wrapper, like UInt32Value, is asked what is asked of its value."""
    if field.message_type is None or kind_of(rules) in (None, "duration", "any", "timestamp"):
        return value_rule(field, rules)
    rule = value_rule(field.message_type.fields_by_name["value"], rules)
    return None if rule is None else lambda wrapper: rule(wrapper.value)


def _required(field: FieldDescriptor) -> bool:
    """Not of what is one of several: which of them must be there, their oneof says."""
    rules: Any = rules_of(field)
    if rules is None or field.is_repeated or field.containing_oneof is not None:
        return False
    kind = kind_of(rules)
    return bool(rules.message.required or (kind in ("duration", "any") and getattr(rules, kind).required))


def _wrong_if_absent(field: FieldDescriptor) -> str | None:
    """What is wrong with a field that is not there, whose absence cannot be told from a zero."""
    rules: Any = rules_of(field)
    if rules is None or (not field.is_repeated and field.has_presence):
        return None
    if field.is_repeated:
        count = count_rule(rules)
        return None if count is None else count(())
    rule = value_rule(field, rules)
    return None if rule is None else rule(field.default_value)


def _is_map(field: FieldDescriptor) -> bool:
    return field.message_type is not None and bool(field.message_type.GetOptions().map_entry)


def unpacked(type_url: str, content: bytes) -> Message:
    """Raises KeyError for a type that nothing here has imported, DecodeError for other bytes than its own."""
    name = type_url.rpartition("/")[2]
    kind = message_factory.GetMessageClass(descriptor_pool.Default().FindMessageTypeByName(name))
    return kind.FromString(content)
