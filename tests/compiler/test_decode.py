"""Documents become policies: fields whose effect comes later, and what an invalid document does to the others."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from compiler.decode import decode
from compiler.diagnostics import Severity
from compiler.kinds import KINDS
from compiler.kinds.inference_model import InferenceModel
from compiler.nodes import plain
from compiler.parse import parse
from tests.compiler.policies import codes, document, fleet, linked, model

FLEET = {
    "InferenceModel": model(spec="versions: [{name: '1', weight: 100}]"),
    "ModelOrchestrator": document(
        "ModelOrchestrator", "auto", "models: [{name: chat, weight: 100}]\nrouting: {rules: [{target: chat}]}"
    ),
    "DisasterRecovery": document(
        "DisasterRecovery", "recovery", "models: [{name: chat, hotStandby: 1}]\nazFailover: {}"
    ),
    "Gateway": document("Gateway", "public", "hosts: [inference.example.com]"),
    "Platform": document("Platform", "platform", "defaults: {}"),
    "Tenant": document("Tenant", "studio", "gpuQuota: 1"),
    "GPUPool": document(
        "GPUPool", "shared", "nodes: [{name: node, zone: az-1, gpuCount: 8, cpu: 64, memory: 512Gi}]\nqueue: {}"
    ),
}
EXAMPLES: dict[str, Any] = {
    "min": 10,
    "warm": "30s",
    "rpo": "0s",
    "healthCheckInterval": "10s",
    "failoverThreshold": 3,
    "returnAfter": "5m",
    "faultModel": {"base": "sources"},
    "authentication": {"apiKey": {}},
    "stagedConfig": "automatic",
    "tier": "pro",
    "apiKeys": [{"secretRef": {"name": "tenant-keys", "key": "studio"}}],
    "jwtClaims": ["studio"],
    "allowedModels": ["chat", "auto"],
    "rateLimits": [{"requests": 60, "per": "1m", "models": ["chat"]}],
}

Path = tuple[str | int, ...]


def later_fields() -> Iterator[tuple[str, Path]]:
    for kind in KINDS:
        for path, info in fields(kind, ()):
            if isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("x-later"):
                yield kind.__name__, path


def fields(schema: type[BaseModel], path: Path) -> Iterator[tuple[Path, FieldInfo]]:
    """Every field of `schema`, down to those that have no effect yet; lists by their first item."""
    for name, info in schema.model_fields.items():
        here = (*path, info.alias or name)
        yield here, info
        if not (isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("x-later")):
            for inner, in_list in parts(info.annotation):
                yield from fields(inner, (*here, 0) if in_list else here)


def parts(annotation: Any, in_list: bool = False) -> Iterator[tuple[type[BaseModel], bool]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation, in_list
    else:
        for argument in typing.get_args(annotation):
            yield from parts(argument, in_list or typing.get_origin(annotation) is tuple)


LATER = sorted(later_fields(), key=str)


def test_there_are_later_fields_in_every_part_of_the_language_but_one() -> None:
    assert {kind for kind, _ in LATER} == set(FLEET) - {"ModelOrchestrator", "GPUPool"}
    assert {path[-1] for _, path in LATER} == set(EXAMPLES)


@pytest.mark.parametrize(("kind", "path"), LATER, ids=lambda value: value if isinstance(value, str) else str(value[-1]))
def test_a_field_of_later_is_told_and_changes_nothing(kind: str, path: Path) -> None:
    before = fleet(*FLEET.values())
    written = {**FLEET, kind: with_value(FLEET[kind], path, EXAMPLES[str(path[-1])])}
    result, found = linked(*written.values())
    dotted = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)[1:]
    assert [(d.code, d.severity, d.message) for d in found] == [
        ("P116", Severity.WARNING, f"'{dotted}' has no effect in this version of turnout")
    ]
    assert without_origins(result) == without_origins(before)


def with_value(text: str, path: Path, value: Any) -> str:
    """The document `text` in JSON, which is YAML, with `value` at `path`."""
    (node,), _ = parse(text, "x")
    tree = json.loads(json.dumps(plain(node)))
    place = tree
    for step, following in pairwise(path):
        if isinstance(step, str):
            place.setdefault(step, [{}] if isinstance(following, int) else {})
        place = place[step]
    place[path[-1]] = value
    return json.dumps(tree) + "\n"


def without_origins(value: Any) -> Any:
    if hasattr(value, "__dataclass_fields__"):
        return {
            name: without_origins(getattr(value, name))
            for name in value.__dataclass_fields__
            if not name.endswith("origin")
        }
    return [without_origins(item) for item in value] if isinstance(value, tuple) else value


def test_a_field_of_later_in_the_defaults_is_told_once_however_many_models_there_are() -> None:
    platform = document("Platform", "platform", "defaults: {coldStart: {warm: 20s}}")
    assert codes(platform, model("a"), model("b")) == ["P116"]


def test_a_field_of_later_is_checked_all_the_same() -> None:
    assert codes(model(spec="expectedQps: {min: many}")) == ["P102", "P116"]


def test_an_invalid_model_is_no_dangling_one() -> None:
    others = [text for kind, text in FLEET.items() if kind != "InferenceModel"]
    assert codes(model(spec="replica: 2"), *others) == ["P101"]


def test_a_model_whose_name_is_a_number_is_no_dangling_one() -> None:
    broken = model().replace("name: chat", "name: 70")
    assert codes(broken, document("ModelOrchestrator", "auto", 'models: [{name: "70", weight: 100}]')) == ["P102"]


@pytest.mark.parametrize("missing", ["InferenceModel", "Gateway"])
def test_a_document_of_unknown_kind_may_be_the_one_that_is_referred_to(missing: str) -> None:
    gateway = document("ModelOrchestrator", "auto", "gateway: public\nmodels: [{name: chat, weight: 100}]")
    written = [FLEET["InferenceModel"], FLEET["Gateway"], gateway]
    assert codes(*(text.replace(f"kind: {missing}", "kind: Nothing") for text in written)) == ["P114"]


def test_documents_that_could_not_be_read_make_no_name_dangling() -> None:
    nodes, _ = parse(FLEET["ModelOrchestrator"], "policies/x.yaml")
    policies, found = decode((nodes,), complete=False)
    assert found == []
    assert not policies.complete


def test_an_invalid_platform_makes_no_model_wrong() -> None:
    platform = document(
        "Platform", "platform", "gpuCatalogue: {x: {label: X, memoryGiB: 9}}\ndefaults: {resources: {gpuCount: 8}}"
    )
    chat = model(spec="resources: {gpuType: x}\nconfig: {tensorParallel: 8}")
    assert codes(platform, chat) == []
    assert codes(platform + "  nonsense: 1\n", chat) == ["P101"]


def test_defaults_of_platform_are_checked_where_they_stand() -> None:
    platform = document("Platform", "platform", "defaults: {replicas: many}")
    (problem,) = linked(platform, model())[1]
    assert (problem.code, problem.message.split(":")[0]) == ("P102", "spec.defaults.replicas")


def test_what_a_default_breaks_is_told_at_the_default_once() -> None:
    platform = document("Platform", "platform", "defaults:\n  traffic: {loadBalancing: {strategy: consistent_hash}}")
    (problem,) = set(linked(platform, model("a"), model("b"))[1])
    assert (problem.code, problem.position.line) == ("P212", 6)


def test_null_takes_nothing_away() -> None:
    assert codes(model(spec="replicas: null")) == ["P102"]


def test_no_more_than_a_thousand_problems_of_one_document_are_told() -> None:
    assert len(linked(model(spec="\n".join(f"x{n}: 1" for n in range(3_000))))[1]) == 1_000


def test_parts_that_state_the_same_share_their_memory_and_copies_leave_it_alone() -> None:
    nodes, _ = parse("---\n".join(model(name, "replicas: 2") for name in ("a", "b")), "policies/all.yaml")
    policies, _ = decode((nodes,))
    first, second = (policies.of(InferenceModel)[name].body.spec for name in ("a", "b"))
    assert first.model_fields_set is second.model_fields_set
    copied = first.model_copy(update={"version": "2"})
    assert copied.model_fields_set == {"model_name", "replicas", "version"}
    assert copied.model_fields_set is second.model_copy(update={"version": "3"}).model_fields_set
    assert second.model_fields_set == {"model_name", "replicas"}
