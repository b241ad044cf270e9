"""A field of the fleet that nobody reads is a promise nobody keeps: changing each in turn must change some output."""

from __future__ import annotations

import dataclasses
import enum
import functools
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import compiler.fleet as parts
from compiler.diagnostics import Diagnostic, Position
from compiler.emit import EMITTERS
from compiler.evaluate import evaluate
from compiler.explain import document
from compiler.fleet import Carrier, Fleet
from compiler.kept import Kept
from compiler.pipeline import compile_policies, manifests
from compiler.prove import prove
from compiler.request import Request
from xds.admin.status import status
from xds.control import Policy
from xds.snapshot import ResourceType
from xds.translate import Group, group_names, snapshot

POLICIES = Path(__file__).parent / "golden" / "every-field" / "policies"

REQUESTS = (
    Request(),
    Request(model="llama"),
    Request(model="nobody"),
    Request(prompt_length=3000, headers={"x-team": "a"}),
    Request(capabilities=frozenset({"chat"})),
    Request(capabilities=frozenset({"code"})),
    Request(model="moved"),
    Request(model="rolled"),
)
_OF_ROLLOUTS = (
    "model",
    "from_version",
    "pause_after",
    "sticky_by",
    "drain_timeout",
    "analysis",
    "source",
    "confidence",
)
TOLD = (
    "origin",
    "limit_origin",
    "stream_origin",
    "engine_origin",
    "value_origins",
    "priority",
    "expected_qps",
    "webhook",
    "allowed_signers",
    "least_parameters",
    "kv_per_token",
    "gpu_memory_gib",
    *_OF_ROLLOUTS,
)
"""Fields that no file and no resource depends on."""

Path_ = tuple[str | int, ...]


@functools.cache
def fleet() -> Fleet:
    compiled = compile_policies(POLICIES)
    assert compiled.fleet is not None, compiled.diagnostics
    return compiled.fleet


def outputs(of: Fleet) -> Mapping[str, object]:
    """Everything that leaves the process: files, and resources with the origin told when one is refused."""
    kept = Kept()  # what groups have in common is made once
    files = dict(manifests(of, kept))
    resources = {
        f"{name}/{kind}/{resource.name}": (resource.body, resource.origin)
        for name in (*group_names(of), *(f"sidecar.{tenant.name}" for tenant in of.tenants))
        for kind in ResourceType
        for resource in snapshot(of, Group(name), kept)[kind].values()
    }
    return {**files, **resources}


@functools.cache
def before() -> tuple[Mapping[str, object], object, str]:
    return outputs(fleet()), told(fleet()), repr(fleet())


def told(of: Fleet) -> object:
    """What no file and no resource of its own stands for: told by `/status`, by explanations and by proofs."""
    explained = [
        document(request, evaluate(of, request, gateway), str) for gateway in of.gateways for request in REQUESTS
    ]
    unexpressed = [unsaid(of, carrier) for carrier in Carrier]
    return status(Policy(), of, (), lambda _: None), explained, prove(of), unexpressed


def unsaid(of: Fleet, carrier: Carrier) -> list[Diagnostic]:
    """What the targets say that they cannot express where `carrier` has every host."""
    gateways = tuple(
        dataclasses.replace(gateway, hosts=tuple(dataclasses.replace(host, carrier=carrier) for host in gateway.hosts))
        for gateway in of.gateways
    )
    carried = dataclasses.replace(of, gateways=gateways)
    return [found for emitter in EMITTERS for found in emitter.diagnostics(carried, Kept())]


def places(value: Any, path: Path_ = ()) -> Iterator[tuple[str, Path_]]:
    """`Class.field` and the path to it, for every field of every part of `value`."""
    if isinstance(value, Position):
        return
    if isinstance(value, tuple):
        for index, item in enumerate(value):
            yield from places(item, (*path, index))
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            inner = getattr(value, field.name)
            yield f"{type(value).__name__}.{field.name}", (*path, field.name)
            yield from places(inner, (*path, field.name))


def changed(value: Any, path: Path_, of: Fleet) -> Any:
    """`value` with the field at `path` another, as near to the old one as its type allows."""
    if not path:
        return other(value, of)
    step, rest = path[0], path[1:]
    if isinstance(step, int):
        return (*value[:step], changed(value[step], rest, of), *value[step + 1 :])
    return dataclasses.replace(value, **{step: changed(getattr(value, step), rest, of)})


def other(value: Any, of: Fleet) -> Any:
    match value:
        case enum.Enum():
            members = list(type(value))
            return members[(members.index(value) + 1) % len(members)]
        case bool():
            return not value
        case int():
            return value + 1
        case float():
            return value * 0.9
        case timedelta():
            return value + timedelta(seconds=5)
        case Position():
            return value._replace(line=value.line + 1)
        case str():
            names = [model.name for model in of.models]
            return names[names.index(value) - 1] if value in names else f"{value}x"
        case (Position(), *_):
            return tuple(other(place, of) for place in value)
        case (str() | int() as only,):
            return (other(only, of),)
        case tuple():
            return value[:-1] if value else ("x",)
        case None:
            return None  # another place has it set
    # A part as a whole is read when one of its fields is.
    first = dataclasses.fields(value)[0].name
    return dataclasses.replace(value, **{first: other(getattr(value, first), of)})


FIELDS = sorted({name for name, _ in places(fleet())})


@pytest.mark.parametrize("field", FIELDS)
def test_a_field_of_the_fleet_changes_some_output(field: str) -> None:
    assert any(reacts(fleet(), path) for name, path in places(fleet()) if name == field), (
        f"no output depends on {field}"
    )


def reacts(of: Fleet, path: Path_) -> bool:
    after, (outputs_before, told_before, repr_before) = changed(of, path, of), before()
    if repr(after) == repr_before:  # equality leaves out where a setting is said
        return False
    try:
        return outputs(after) != outputs_before or (path[-1] in TOLD and told(after) != told_before)
    except (KeyError, ValueError):
        return path[0] == "models"  # others refer to a model that is gone, or has another name


def test_every_part_of_the_fleet_occurs_in_the_policies_of_this_test() -> None:
    """Otherwise a field of a part that never occurs would go untested."""
    declared = {
        f"{part.__name__}.{field.name}"
        for part in vars(parts).values()
        if isinstance(part, type) and dataclasses.is_dataclass(part)
        for field in dataclasses.fields(part)
    }
    derived = {name for name in declared if name.startswith(("MirrorShare.", "Route.", "Share."))}
    assert set(FIELDS) == declared - derived
