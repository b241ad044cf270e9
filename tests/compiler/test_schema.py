"""The JSON Schemas for editors: valid, as wide as the policies in use, and with a word on every field."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from compiler.kinds import KINDS
from compiler.nodes import Mapped, plain
from compiler.parse import parse
from compiler.schema import schemas
from tests.compiler.policies import document, model

ROOT = Path(__file__).parents[2]
SCHEMAS: dict[str, dict[str, Any]] = {name: json.loads(text) for name, text in schemas().items()}
ANY = Draft202012Validator(SCHEMAS["policy.json"])


def documents(text: str) -> Iterator[Any]:
    nodes, found = parse(text, "policies/x.yaml")
    assert found == ()
    for node in nodes:
        assert isinstance(node, Mapped)
        yield json.loads(json.dumps(plain(node)))


def complaints(text: str) -> list[str]:
    return [error.message for item in documents(text) for error in ANY.iter_errors(item)]


def test_there_is_one_for_each_kind_and_one_for_all() -> None:
    assert set(SCHEMAS) == {f"{kind.__name__}.json" for kind in KINDS} | {"policy.json"}


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_a_valid_one(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])


@pytest.mark.parametrize("file", sorted((ROOT / "policies").glob("*.yaml")), ids=lambda file: file.stem)
def test_the_policies_in_use_pass(file: Path) -> None:
    assert complaints(file.read_text()) == []
    for item in documents(file.read_text()):
        assert not list(Draft202012Validator(SCHEMAS[f"{item['kind']}.json"]).iter_errors(item))


def test_a_model_of_five_lines_passes() -> None:
    assert complaints(model()) == []


@pytest.mark.parametrize(
    "text",
    [
        model(spec="replica: 2"),
        model(spec="framework: vlm"),
        model(spec="replicas: two"),
        model(spec="replicas: -1"),
        model(spec="traffic: {healthCheck: {interval: 10}}"),
        model(spec="traffic: {healthCheck: {interval: 1 minute}}"),
        model(spec="traffic: {healthCheck: {path: health}}"),
        model(spec="resources: {memory: lots}"),
        model(spec="versions: []"),
        model(spec="replicas: null"),
        model().replace("modelName", "model"),
        model().replace("InferenceModel", "InferenceModle"),
        model().replace("/v1", "/v2"),
        document("Platform", "platform", "defaults: {modelName: x}"),
        document("Gateway", "public", "listeners: [{protocol: HTTP}]"),
    ],
)
def test_what_the_compiler_refuses_at_sight_an_editor_underlines(text: str) -> None:
    assert complaints(text)


def properties() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, schema in SCHEMAS.items():
        if name != "policy.json":
            for part, described in [(schema["properties"]["kind"]["const"], schema), *schema["$defs"].items()]:
                yield from ((part, field, words) for field, words in described.get("properties", {}).items())


def test_every_field_has_a_word_on_it() -> None:
    silent = {
        f"{part}.{field}" for part, field, words in properties() if not words.get("description", "").endswith(".")
    }
    assert silent == set()


def test_a_default_is_written_as_policy_writes_it() -> None:
    defaults = {f"{part}.{field}": words["default"] for part, field, words in properties() if "default" in words}
    assert defaults["HealthCheckSpec.interval"] == "10s"
    assert defaults["RetriesSpec.backoff"] == "25ms"
    assert defaults["ColdStartSpec.cold"] == "5m"
    assert defaults["OutlierDetectionSpec.consecutive5xxErrors"] == 5
    assert defaults["GatewaySpec.listeners"] == [{"port": 8080, "protocol": "HTTP"}]
    assert not [key for key, value in defaults.items() if value is None or "null" in json.dumps(value)]


def test_a_field_without_effect_says_so() -> None:
    assert all("No effect yet." in words["description"] for _, _, words in properties() if words.get("x-later"))
