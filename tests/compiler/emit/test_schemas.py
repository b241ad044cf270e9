"""Every object that the emitters make is one an API server takes."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from compiler.emit.object import Object
from tests.manifests.schemas import validate


def test_every_object_is_valid(objects: tuple[Object, ...]) -> None:
    complaints = {item.key: validate(item.body) for item in objects}
    assert {key: found for key, found in complaints.items() if found} == {}


def test_the_fleet_makes_every_kind(objects: tuple[Object, ...]) -> None:
    kinds = {item.body["kind"] for item in objects}
    assert kinds == {
        "ServiceAccount",
        "Service",
        "Deployment",
        "HorizontalPodAutoscaler",
        "PodDisruptionBudget",
        "PriorityClass",
        "ConfigMap",
        "DestinationRule",
        "Gateway",
        "VirtualService",
        "EnvoyFilter",
        "HTTPRoute",
        "ReferenceGrant",
        "Queue",
        "DaemonSet",
        "Namespace",
        "ResourceQuota",
        "LimitRange",
        "NetworkPolicy",
        "PeerAuthentication",
        "AuthorizationPolicy",
        "PodMonitor",
        "ServiceMonitor",
        "PrometheusRule",
        "Telemetry",
        "Canary",
        "MetricTemplate",
    }


def _of(kind: str, objects: tuple[Object, ...]) -> Any:
    return copy.deepcopy(next(item.body for item in objects if item.body["kind"] == kind))


@pytest.mark.parametrize(
    "kind",
    [
        *("Deployment", "Service", "ServiceAccount", "DestinationRule", "VirtualService", "EnvoyFilter"),
        *("PodMonitor", "ServiceMonitor", "PrometheusRule", "Telemetry", "Canary", "HTTPRoute", "ReferenceGrant"),
    ],
)
def test_an_unknown_field_is_refused(kind: str, objects: tuple[Object, ...]) -> None:
    body = _of(kind, objects)
    body.get("spec", body)["extra"] = True
    assert any("extra" in complaint for complaint in validate(body))


def test_an_unknown_field_deep_inside_is_refused(objects: tuple[Object, ...]) -> None:
    body = _of("Deployment", objects)
    body["spec"]["template"]["spec"]["containers"][0]["startupProbe"]["httpGet"]["verb"] = "GET"
    assert any("verb" in complaint for complaint in validate(body))


def test_a_deployment_without_selector_is_refused(objects: tuple[Object, ...]) -> None:
    body = _of("Deployment", objects)
    del body["spec"]["selector"]
    assert any("selector" in complaint for complaint in validate(body))


def test_a_value_of_the_wrong_type_is_refused(objects: tuple[Object, ...]) -> None:
    body = _of("Deployment", objects)
    body["spec"]["template"]["spec"]["containers"][0]["args"].append(8000)
    assert any("args" in complaint for complaint in validate(body))


def test_a_rule_written_in_cel_is_run(objects: tuple[Object, ...]) -> None:
    body = _of("DestinationRule", objects)
    body["spec"]["trafficPolicy"]["outlierDetection"]["interval"] = "0s"
    assert any("duration" in complaint for complaint in validate(body))
