"""Whether a Kubernetes API server would take an object: `validate(body)` lists what it would say against it.

Built-in kinds are checked against Kubernetes' own JSON schemas, unknown fields refused, and by a round trip through the
client's typed models. Custom resources are checked against their CRDs, CEL rules included.
"""

from __future__ import annotations

import copy
import functools
import gzip
import importlib.util
import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import kubernetes.client
import kubernetes_validate  # type: ignore[import-untyped]
import pytest
from referencing import Registry, Resource

KUBERNETES = "1.34"
_SCHEMAS = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema" / f"v{KUBERNETES}.0-local-strict"
CRDS = Path(__file__).resolve().parents[2].parent / "shared" / "crds"
"""Beside the repository: the custom resource definitions and their checker."""


def validate(body: Mapping[str, Any]) -> list[str]:
    """All complaints, each with the field's path; empty for a valid object. Raises LookupError for an unknown kind."""
    if _schema_file(body["apiVersion"], body["kind"]).exists():
        # The typed models raise for what the schema has refused already.
        return _schema_errors(body) or _round_trip_errors(body)
    return _custom_resource_errors(body)


def _schema_errors(body: Mapping[str, Any]) -> list[str]:
    errors = _validator(body["apiVersion"], body["kind"]).iter_errors(body)
    return [f"{e.json_path}: {e.message}" for leaf in errors for e in (leaf, *(leaf.context or ()))]


@functools.cache
def _validator(api_version: str, kind: str) -> jsonschema.Draft202012Validator:
    schema = json.loads(_schema_file(api_version, kind).read_text(encoding="utf-8"))
    registry = Resource.from_contents(schema) @ _definitions()
    return jsonschema.Draft202012Validator(schema, registry=registry)


def _schema_file(api_version: str, kind: str) -> Path:
    """As kubernetes-validate names it: apps/v1 Deployment in deployment-apps-v1.json, without the group's domain."""
    version = re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version)
    return _SCHEMAS / f"{kind.lower()}-{version}.json"


@functools.cache
def _definitions() -> Registry[Any]:
    definitions = json.loads((_SCHEMAS / "_definitions.json").read_text(encoding="utf-8"))
    registry: Registry[Any] = Registry()
    return Resource.from_contents(definitions) @ registry


def _round_trip_errors(body: Mapping[str, Any]) -> list[str]:
    """What the typed client loses or changes, and a server that knows the same fields would too."""
    client = _client()
    name = f"{body['apiVersion'].split('/')[-1].capitalize()}{body['kind']}"
    typed = client.deserialize(json.dumps(body), name, "application/json")
    return list(_differences("$", body, client.sanitize_for_serialization(typed)))


@functools.cache
def _client() -> Any:
    return kubernetes.client.ApiClient()


def _differences(path: str, before: Any, after: Any) -> list[str]:
    if isinstance(before, Mapping) and isinstance(after, Mapping):
        keys = {**before, **after}
        return [d for key in keys for d in _differences(f"{path}.{key}", before.get(key), after.get(key))]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        pairs = enumerate(zip(before, after, strict=True))
        return [d for number, (old, new) in pairs for d in _differences(f"{path}[{number}]", old, new)]
    return [] if before == after else [f"{path}: {before!r} comes back from the typed client as {after!r}"]


def _custom_resource_errors(body: Mapping[str, Any]) -> list[str]:
    if not CRDS.is_dir():
        pytest.skip(f"no {CRDS}: custom resources are not checked")
    checker = _custom_resources()
    if (body["apiVersion"], body["kind"]) not in checker.by:
        raise LookupError(f"no custom resource definition for {body['apiVersion']} {body['kind']}")
    # The checker fills defaults into what it is given.
    errors, notes = checker.validate(copy.deepcopy(dict(body)))
    return [f"{path}: {message}" for path, message in (*errors, *notes)]


@functools.cache
def _custom_resources() -> Any:
    module = _crdcheck()
    return module.Crds(json.loads(gzip.decompress((CRDS / "crds.min.json.gz").read_bytes())))


def _crdcheck() -> ModuleType:
    spec = importlib.util.spec_from_file_location("crdcheck", CRDS / "crdcheck.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    # Without CEL it skips rules in silence, and a test that passes would mean less than it says.
    assert module._env is not None, "cel-expr-python is not installed"
    return module
