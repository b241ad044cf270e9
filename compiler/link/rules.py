"""An orchestrator's rules: conditions that can hold, over members that exist, in one order."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TypeVar

from compiler import regex
from compiler.decode import Policies, Policy
from compiler.diagnostics import Diagnostic, Position, error
from compiler.envoy.request_pass import INTERNAL_PREFIX
from compiler.fleet import Condition, Field, FieldType, Operator, Rule, Target
from compiler.fleet.rules import OPERATORS, TYPES, Value
from compiler.kinds import InferenceModel, ModelOrchestrator
from compiler.kinds.model_orchestrator import ConditionSpec, MemberSpec, RuleSpec
from compiler.kinds.part import Part
from compiler.kinds.platform import PlatformSpec
from compiler.kinds.traffic import RouteSpec, retry_words
from compiler.link.members import check_member
from compiler.link.references import weights_sum
from compiler.link.traffic import ROUTE_FIELDS, check_mirror, fault, mirror, retries, timeouts
from compiler.nodes import Loc, article, dotted, value_type
from compiler.request import HOP_HEADERS, HOP_PREFIXES, METHODS
from compiler.spelling import nearest

P = TypeVar("P", bound=Part)

_OF_A_PART: Mapping[Operator, Callable[[str, str], bool]] = {
    Operator.PREFIX: str.startswith,
    Operator.CONTAINS: str.__contains__,
    Operator.REGEX: lambda known, pattern: regex.matches(pattern, known),
}
"""Operators that ask for a part of a text, or its form."""
_HEADER = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+\Z")
_METADATA_KEY = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")
_TYPE_NAMES = {
    FieldType.TEXT: "string",
    FieldType.INTEGER: "integer",
    FieldType.SET: "set of strings",
    FieldType.BOOLEAN: "boolean",
}
_PYTHON = {FieldType.TEXT: str, FieldType.INTEGER: int, FieldType.SET: str, FieldType.BOOLEAN: bool}


def rules(
    policy: Policy[ModelOrchestrator], policies: Policies, members: Mapping[str, MemberSpec], found: list[Diagnostic]
) -> tuple[Rule, ...]:
    """By priority, the highest first; equal ones in policy order, which matters to none that may both match (P421)."""
    specs = policy.body.spec.routing.rules or ()
    names: dict[str, Position] = {}
    built: list[Rule] = []
    for index, spec in enumerate(specs):
        name = spec.name or f"rule-{index + 1}"
        place = policy.at("spec", "routing", "rules", index, "name")
        if name in names:
            found.append(error("P204", place, f"rule '{name}' twice, first at {names[name]}", "another name"))
        names.setdefault(name, place)
        rule = _rule(policy, index, name, spec, policies, members, found)
        if rule is not None:
            built.append(rule)
    return tuple(sorted(built, key=lambda rule: -rule.priority))


def _rule(
    policy: Policy[ModelOrchestrator],
    index: int,
    name: str,
    spec: RuleSpec,
    policies: Policies,
    members: Mapping[str, MemberSpec],
    found: list[Diagnostic],
) -> Rule | None:
    loc: Loc = ("spec", "routing", "rules", index)
    targets = _targets(policy, loc, name, spec, members, found)
    conditions = [
        made
        for number, condition in enumerate(spec.conditions)
        if (made := _condition(policy, (*loc, "conditions", number), condition, policies, found)) is not None
    ]
    route = _route_settings(policy, loc, spec, targets, policies, found)
    if route is None or len(conditions) < len(spec.conditions):
        return None
    places = _route_places(policy, loc, targets, policies)
    return Rule(
        name=name,
        priority=spec.priority,
        conditions=tuple(conditions),
        targets=targets,
        retries=retries(route, places["retries"]),
        timeouts=timeouts(route, places["timeouts"], places["timeouts.stream"]),
        origin=policy.at(*loc),
        mirror=mirror(route, places["mirror"]),
        fault=fault(route, places["fault"]),
    )


def _targets(
    policy: Policy[ModelOrchestrator],
    loc: Loc,
    name: str,
    spec: RuleSpec,
    members: Mapping[str, MemberSpec],
    found: list[Diagnostic],
) -> tuple[Target, ...]:
    if spec.target is not None and spec.targets is not None:
        place = policy.key(*loc, "targets")
        found.append(error("P201", place, "'target' and 'targets' exclude each other", "one of them"))
    if spec.target is None and spec.targets is None:
        found.append(error("P201", policy.at(*loc), "'target' or 'targets': one is needed", "target: a member"))
    if spec.target is not None:
        known = check_member(policy, (*loc, "target"), spec.target, members, found)
        return (Target(members[spec.target].ref or spec.target, 100),) if known else ()
    given = spec.targets or ()
    weights = [100 if t.weight is None and len(given) == 1 else t.weight for t in given]
    places = [policy.at(*loc, "targets", number, "weight") for number in range(len(given))]
    for number, weight in enumerate(weights):
        if weight is None:
            missing = f"'{dotted((*loc, 'targets', number))}.weight' is missing"
            found.append(error("P113", places[number], missing, "the weights of all targets sum to 100"))
    whole = [weight for weight in weights if weight is not None]
    if len(whole) == len(weights) and whole and (bad := weights_sum(f"rule '{name}'", whole, places)):
        found.append(bad)
    known_targets = [
        (members[target.model].ref or target.model, weight or 0)
        for number, (target, weight) in enumerate(zip(given, weights, strict=True))
        if check_member(policy, (*loc, "targets", number, "model"), target.model, members, found)
    ]
    return tuple(Target(model, weight) for model, weight in known_targets)


def _condition(
    policy: Policy[ModelOrchestrator], loc: Loc, spec: ConditionSpec, policies: Policies, found: list[Diagnostic]
) -> Condition | None:
    name, _, key = spec.field.partition(".")
    place = policy.at(*loc, "field")
    fields = [str(f) for f in Field]
    if name not in fields or (name in (Field.HEADER, Field.METADATA)) != bool(key):
        near = nearest(name, fields) or "header.<name> for others"
        hint = "header.<name> or metadata.<key>" if name in fields else near
        said = f"{dotted((*loc, 'field'))}: '{spec.field}' is not one of {', '.join(_shown_fields())}"
        found.append(error("P103", place, said, hint))
        return None
    field = Field(name)
    if field is Field.HEADER and not _HEADER.match(key.lower()):
        found.append(error("P115", place, f"'{key}' is no name: no header is called so", "header.x-team"))
        return None
    if field is Field.HEADER and key.lower().startswith(INTERNAL_PREFIX):
        said = f"'{key}' is no name: headers {INTERNAL_PREFIX}… are Turnout's own, and a client's are removed"
        found.append(error("P115", place, said, "a header of yours"))
        return None
    if field is Field.HEADER and (key.lower() in HOP_HEADERS or key.lower().startswith(HOP_PREFIXES)):
        said = f"'{key}' is no name: proxies set or remove that header, so a rule does not see what the client sent"
        found.append(error("P115", place, said, "a header of the client's own"))
        return None
    if field is Field.METADATA and not _METADATA_KEY.match(key):
        said = f"'{key}' is no name: a metadata key of a rule is lower-case letters, digits, - and _"
        found.append(error("P115", place, said, "metadata.team"))
        return None
    kind, operator = TYPES[field], Operator(spec.operator)
    if operator not in OPERATORS[kind]:
        said = f"{operator} does not fit {spec.field}, {article(_TYPE_NAMES[kind])}"
        found.append(error("P106", policy.at(*loc, "operator"), said, ", ".join(OPERATORS[kind])))
        return None
    values = _values(policy, (*loc, "value"), operator, kind, spec.value, found)
    if values is None or not _in_domain(policy, (*loc, "value"), field, operator, values, policies, found):
        return None
    listed = range(len(values)) if operator is Operator.IN else ()
    return Condition(
        field=field,
        key=key.lower() if field is Field.HEADER else key,
        operator=operator,
        values=values,
        origin=policy.at(*loc),
        value_origins=tuple(policy.at(*loc, "value", number) for number in listed),
    )


def _values(
    policy: Policy[ModelOrchestrator],
    loc: Loc,
    operator: Operator,
    kind: FieldType,
    value: object,
    found: list[Diagnostic],
) -> tuple[Value, ...] | None:
    several = operator is Operator.IN
    given = value if isinstance(value, tuple) else (value,)
    if several != isinstance(value, tuple) or not given:
        wanted = "list" if several else _TYPE_NAMES[kind].split()[0]
        said = f"{dotted(loc)}: {operator} takes a {wanted}, and this is {'empty' if not given else 'none'}"
        found.append(error("P102", policy.at(*loc), said, "[one, two]" if several else ""))
        return None
    python = _PYTHON[kind]
    for number, item in enumerate(given):
        place = policy.at(*loc, number) if several else policy.at(*loc)
        if not isinstance(item, python) or (python is int and isinstance(item, bool)):
            wanted = "string" if python is str else _TYPE_NAMES[kind]
            got = value_type(item)
            said = f"{dotted(loc)}: {_literal(item)} is {article(got)}, not {article(wanted)}"
            found.append(error("P102", place, said, f'"{_literal(item)}"' if python is str else ""))
            return None
        if python is int and not 0 <= int(str(item)) < 2**53:
            found.append(error("P104", place, f"{dotted(loc)}: {item} is out of range: 0 to 2^53"))
            return None
        if python is str and not (_is_plain(str(item)) and item):
            said = f"{dotted(loc)}: {item!r} is out of range: a header cannot hold it"
            found.append(error("P104", place, said, "printable ASCII without spaces around it"))
            return None
        if operator is Operator.REGEX and (problem := regex.problem(str(item))):
            found.append(error("P104", place, f"{dotted(loc)}: {item!r} is no regular expression of RE2: {problem}"))
            return None
    first: dict[object, int] = {}
    for number, item in enumerate(given):
        if first.setdefault(item, number) != number:
            place, before = policy.at(*loc, number), policy.at(*loc, first[item])
            found.append(error("P204", place, f"value '{_literal(item)}' twice, first at {before}", "delete one"))
            return None
    if several and python is str and (problem := regex.problem("|".join(re.escape(str(item)) for item in given))):
        said = f"{dotted(loc)}: {len(given)} values are too many for the routes: {problem}"
        found.append(error("P104", policy.at(*loc), said, "prefix or regex, or several rules"))
        return None
    return tuple(given)


def _in_domain(
    policy: Policy[ModelOrchestrator],
    loc: Loc,
    field: Field,
    operator: Operator,
    values: tuple[Value, ...],
    policies: Policies,
    found: list[Diagnostic],
) -> bool:
    """Whether a request can have one of `values`, where the values that requests can have are known."""
    if operator is Operator.LT and values[0] == 0:
        found.append(error("P227", policy.at(*loc), f"{field} is never less than 0: the rule can never match"))
        return False
    for number, value in enumerate(values):
        if field is Field.PATH and operator is not Operator.REGEX and re.search("[?#]", str(value)):
            place = policy.at(*loc, number) if operator is Operator.IN else policy.at(*loc)
            said = f"path '{value}' is outside paths: a query is no part of one, and the rule can never match"
            found.append(error("P227", place, said, "what stands before the ?"))
            return False
    domain = _domain(policy, field, policies)
    if domain is None:
        return True
    if operator in _OF_A_PART:
        if any(_OF_A_PART[operator](known, str(values[0])) for known in domain):
            return True
        said = f"{field} {operator} '{values[0]}' is outside {', '.join(domain)}: the rule can never match"
        found.append(error("P227", policy.at(*loc), said))
        return False
    outside = [(number, value) for number, value in enumerate(values) if value not in domain]
    for number, value in outside:
        place = policy.at(*loc, number) if operator is Operator.IN else policy.at(*loc)
        never = "the rule can never match" if operator is Operator.EQ else "no request has it"
        why = "a request that names a model goes there before any rule" if field is Field.MODEL else never
        said = f"{field} '{value}' is outside {', '.join(domain)}: {why}"
        found.append(error("P227", place, said, nearest(str(value), domain)))
    return not outside


def _domain(policy: Policy[ModelOrchestrator], field: Field, policies: Policies) -> tuple[str, ...] | None:
    if field is Field.USER_TIER:
        return policies.platform.body.spec.tiers if policies.platform else PlatformSpec().tiers
    if field is Field.MODEL:
        # A request that names a model goes to it before any rule is asked; what is left names the orchestrator.
        return (policy.body.metadata.name,)
    return METHODS if field is Field.METHOD else None


def _route_settings(
    policy: Policy[ModelOrchestrator],
    loc: Loc,
    spec: RuleSpec,
    targets: tuple[Target, ...],
    policies: Policies,
    found: list[Diagnostic],
) -> RouteSpec | None:
    """What the rule's one route decides: its own settings laid on those of its targets, which must agree (P216)."""
    models = policies.of(InferenceModel)
    traffic = [(t.model, models[t.model].body.spec.traffic) for t in targets if t.model in models]
    if not traffic or len(traffic) < len(targets):
        return None
    own = spec.traffic
    first_name, first = traffic[0]
    for name, other in traffic[1:]:
        for field in ROUTE_FIELDS:
            stated = own is not None and field in own.model_fields_set
            if policies.platform_known and not stated and getattr(first, field) != getattr(other, field):
                said = f"targets {first_name}, {name} differ in {field}"
                hint = f"set it on the rule: traffic: {{{field}: …}}"
                found.append(error("P216", policy.at(*loc, "targets"), said, hint))
    keys = [(name, spec.load_balancing.hash_key) for name, spec in traffic if spec.load_balancing.hash_key is not None]
    for name, key in keys[1:]:
        if policies.platform_known and key != keys[0][1]:
            said = f"targets {keys[0][0]}, {name} differ in loadBalancing.hashKey"
            found.append(error("P216", policy.at(*loc, "targets"), said, "the same hashKey for both"))
    base = RouteSpec(**{field: getattr(first, field) for field in ROUTE_FIELDS})
    route = base if own is None else _laid_on(base, own)
    mirrored = [target.model for target in targets]
    stated = own is not None and "mirror" in own.model_fields_set
    if stated and not check_mirror(policy, (*loc, "traffic", "mirror"), route, mirrored, policies, found):
        return None
    if route.retries.attempts and not retry_words(route.retries.retry_on):
        where = (*loc, "traffic", "retries", "retryOn")
        found.append(error("P104", policy.at(*where), f"{dotted(where)}: it is empty", "attempts: 0"))
    return route


def _route_places(
    policy: Policy[ModelOrchestrator], loc: Loc, targets: tuple[Target, ...], policies: Policies
) -> Mapping[str, Position]:
    """Where each of the rule's route fields is said: on the rule, else on the model that it leads to."""
    models = policies.of(InferenceModel)
    return {
        field: policy.said(*loc, "traffic", *field.split("."))
        if policy.wrote(*loc, "traffic", *field.split("."))
        else models[targets[0].model].said("spec", "traffic", *field.split("."))
        for field in (*ROUTE_FIELDS, "timeouts.stream")
    }


def _laid_on(base: P, over: P) -> P:
    """`over`'s stated values on `base`, leaf by leaf."""
    changes = {}
    for field in over.model_fields_set:
        value, below = getattr(over, field), getattr(base, field)
        changes[field] = _laid_on(below, value) if isinstance(value, Part) and isinstance(below, Part) else value
    return base.model_copy(update=changes)


def _shown_fields() -> list[str]:
    return [f"{f}.<name>" if f is Field.HEADER else f"{f}.<key>" if f is Field.METADATA else str(f) for f in Field]


def _literal(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _is_plain(text: str) -> bool:
    """What Envoy compares is a header's bytes, without the spaces around them."""
    return text.isascii() and text.isprintable() and text == text.strip()
