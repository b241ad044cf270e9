"""ModelOrchestrator as ai.example.com/v1 has it: its schema, and what becomes of it in turnout.dev/v1."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated, Literal, NamedTuple

import pydantic

from compiler.diagnostics import Diagnostic, Position, error, warning
from compiler.fleet import Field
from compiler.kinds import API_VERSION
from compiler.kinds.gateway import GatewayResourcesSpec
from compiler.kinds.model_orchestrator import MemberSpec, RuleSpec
from compiler.kinds.part import Metadata, Part
from compiler.kinds.traffic import HealthCheckSpec, LoadBalancingSpec
from compiler.kinds.values import Name
from compiler.nodes import (
    Loc,
    Mapped,
    Node,
    Scalar,
    Sequence,
    at,
    dotted,
    key_position,
    merge,
    nested,
    replaced,
    without,
)
from compiler.schema_problems import validated
from compiler.spelling import LIKELY, nearest

FIELDS = (Field.MODEL, Field.USER_TIER, Field.PROMPT_LENGTH, Field.CAPABILITY)
"""What a condition names by itself; any other name is a key of the request's metadata."""


class ForeignRoutingSpec(Part):
    default_model: Name | None = None
    rules: tuple[RuleSpec, ...] = ()
    fallback_chain: tuple[Name, ...] = ()


class ForeignLoadBalancingSpec(LoadBalancingSpec):
    health_check: HealthCheckSpec | None = None


class ForeignGatewaySpec(Part):
    replicas: Annotated[int, pydantic.Field(ge=1, le=1000)] | None = None
    resources: GatewayResourcesSpec | None = None


class ForeignOrchestratorSpec(Part):
    models: Annotated[tuple[MemberSpec, ...], pydantic.Field(min_length=1)]
    routing: ForeignRoutingSpec = ForeignRoutingSpec.model_construct()
    load_balancing: ForeignLoadBalancingSpec | None = None
    gateway: ForeignGatewaySpec | None = None
    # Copies of such documents that have lost their indentation come back with these one level further out.
    fallback_chain: tuple[Name, ...] = ()
    health_check: HealthCheckSpec | None = None


class ForeignOrchestrator(Part):
    api_version: Literal["ai.example.com/v1"]
    kind: Literal["ModelOrchestrator"]
    metadata: Metadata
    spec: ForeignOrchestratorSpec


class Rewritten(NamedTuple):
    """A foreign orchestrator in turnout.dev/v1; each value, and each key that it stands under, at its place."""

    document: Mapped
    """The ModelOrchestrator."""
    traffic: Mapped | None
    """What it sets in `spec.traffic` of its members."""
    gateway: Mapped | None
    """The Gateway that it asks for."""


def rewritten(document: Mapped, gateways: Collection[str], found: list[Diagnostic]) -> Rewritten | None:
    """None when `document` is not valid as it is written there, and why is reported.

    `gateways` are the names of those that have documents of their own.
    """
    if validated(ForeignOrchestrator, document, found) is None:
        return None
    spec = document.entries["spec"]
    assert isinstance(spec, Mapped)  # the schema says so
    chain = _either(document, ("spec", "routing", "fallbackChain"), ("spec", "fallbackChain"), found)
    probes = _either(document, ("spec", "loadBalancing", "healthCheck"), ("spec", "healthCheck"), found)
    kept = without(spec, "fallbackChain", "loadBalancing", "healthCheck", "gateway")
    if isinstance(routing := spec.entries.get("routing"), Mapped):
        kept = replaced(kept, "routing", _routing(routing, found))
    if chain is not None:
        kept = merge(nested(("routing", "fallback", "chain"), _hops(chain.value), chain.key), kept)
    gateway = gateway_of(document, gateways)
    if gateway is not None:
        kept = merge(nested(("gateway",), at(gateway, ("metadata", "name"))[0], spec.keys["gateway"]), kept)
    return Rewritten(in_native_version(replaced(document, "spec", kept)), _traffic(spec, probes), gateway)


def in_native_version(document: Mapped) -> Mapped:
    version = document.entries["apiVersion"]
    return replaced(document, "apiVersion", Scalar(API_VERSION, version.position, API_VERSION))


class _Given(NamedTuple):
    value: Node
    key: Position


def _either(document: Mapped, first: Loc, second: Loc, found: list[Diagnostic]) -> _Given | None:
    """The value at one of two places; reports P201 when it is given at both."""
    given = [loc for loc in (first, second) if at(document, loc)[1]]
    if len(given) == 2:
        said = f"'{dotted(first)}' and '{dotted(second)}' exclude each other"
        found.append(error("P201", key_position(document, second), said, "one of them"))
    return _Given(at(document, given[0])[0], key_position(document, given[0])) if given else None


def _routing(routing: Mapped, found: list[Diagnostic]) -> Mapped:
    rules = routing.entries.get("rules")
    kept = without(routing, "fallbackChain")
    if not isinstance(rules, Sequence):
        return kept
    return replaced(kept, "rules", Sequence(tuple(_rule(rule, found) for rule in rules.items), rules.position))


def _rule(rule: Node, found: list[Diagnostic]) -> Node:
    assert isinstance(rule, Mapped)
    conditions = rule.entries.get("conditions")
    if not isinstance(conditions, Sequence):
        return rule
    items = tuple(_condition(condition, found) for condition in conditions.items)
    return replaced(rule, "conditions", Sequence(items, conditions.position))


def _condition(condition: Node, found: list[Diagnostic]) -> Node:
    assert isinstance(condition, Mapped)
    field = condition.entries["field"]
    assert isinstance(field, Scalar)
    if field.text in FIELDS or "." in field.text:
        return condition
    read = f"{Field.METADATA}.{field.text}"
    own = f"{API_VERSION} has a field of that name" if field.text in set(Field) else nearest(field.text, FIELDS, LIKELY)
    if own:
        found.append(warning("P228", field.position, f"condition field '{field.text}' read as {read}", own))
    return replaced(condition, "field", Scalar(read, field.position, field.text))


def _hops(chain: Node) -> Sequence:
    """Models in order of `chain`, equivalent to nothing: they answer for no model that was asked for by its name."""
    assert isinstance(chain, Sequence)
    return Sequence(tuple(nested(("model",), item, item.position) for item in chain.items), chain.position)


def _traffic(spec: Mapped, probes: _Given | None) -> Mapped | None:
    traffic = None
    if isinstance(balancing := spec.entries.get("loadBalancing"), Mapped):
        own = without(balancing, "healthCheck")
        if own.entries:
            traffic = nested(("loadBalancing",), own, spec.keys["loadBalancing"])
    if probes is not None:
        check = nested(("healthCheck",), probes.value, probes.key)
        traffic = check if traffic is None else merge(check, traffic)
    return traffic


def gateway_of(document: Mapped, gateways: Collection[str]) -> Mapped | None:
    """The Gateway that the foreign orchestrator `document` asks for; `document` need not be valid.

    It is the only one of `gateways`; with several or none, that of the orchestrator's own name.
    """
    gateway, given = at(document, ("spec", "gateway"))
    metadata = document.entries.get("metadata")
    if not (given and isinstance(metadata, Mapped)):
        return None
    place = key_position(document, ("spec", "gateway"))
    if len(gateways) == 1:
        (name,) = gateways
        metadata = Mapped({"name": Scalar(name, place, name)}, {"name": place}, place)
    entries = {
        "apiVersion": Scalar(API_VERSION, place, API_VERSION),
        "kind": Scalar("Gateway", place, "Gateway"),
        "metadata": metadata,
        "spec": gateway,
    }
    return Mapped(entries, dict.fromkeys(entries, place), place)
