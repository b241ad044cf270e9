"""What every object carries, and the text of quantities."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from compiler.emit import kubernetes
from compiler.emit.durations import duration, whole_seconds
from compiler.emit.object import Object
from compiler.kept import Kept
from compiler.quantity import bytes_text, cores_text
from tests.compiler.emit.fleets import GI, fleet, model


def test_an_object_is_named_by_version_kind_namespace_and_name(objects: tuple[Object, ...]) -> None:
    assert "apps/v1/Deployment/ai-inference/llama-70b-1-0" in {item.key for item in objects}


def test_every_object_names_its_policy_line_and_its_wave(objects: tuple[Object, ...]) -> None:
    waves = {
        "Queue": -5,
        "ConfigMap": -5,
        "Namespace": -5,
        "ResourceQuota": -5,
        "LimitRange": -5,
        "NetworkPolicy": -4,
        "PriorityClass": -5,
        "ServiceAccount": -4,
        "DaemonSet": -3,
        "Service": 0,
        "Deployment": 0,
        "PodDisruptionBudget": 0,
        "DestinationRule": 1,
        "EnvoyFilter": 1,
        "PeerAuthentication": 1,
        "AuthorizationPolicy": 1,
        "Gateway": 2,
        "VirtualService": 2,
        "HTTPRoute": 2,
        "ReferenceGrant": 1,
        **dict.fromkeys(("PodMonitor", "ServiceMonitor", "PrometheusRule", "Telemetry"), 3),
        "HorizontalPodAutoscaler": 3,
        "Canary": 3,
        "MetricTemplate": 3,
    }
    for item in objects:
        annotations = item.body["metadata"]["annotations"]
        assert annotations["turnout.dev/origin"] == f"{item.origin.file}:{item.origin.line}"
        # ConfigMaps come before what reads them, if they are read at the start.
        name, kind = item.body["metadata"]["name"], item.body["kind"]
        if kind in ("Deployment", "Service", "PodDisruptionBudget") and name.startswith("turnout-"):
            assert item.wave == (-2 if name == "turnout-control" else 2)
        else:
            assert kind == "ConfigMap" or item.wave == waves[kind]
        assert annotations["argocd.argoproj.io/sync-wave"] == str(int(item.wave))


def test_owners_labels_and_annotations_stand_on_every_object_of_the_model() -> None:
    owned = replace(model(), labels=(("team", "chat"),), annotations=(("note", "x"),))
    for item in kubernetes.objects(fleet(owned), Kept()):
        assert item.body["metadata"]["labels"]["team"] == "chat"
        assert item.body["metadata"]["annotations"]["note"] == "x"


def test_an_owner_cannot_take_our_labels_away() -> None:
    owned = replace(model(), labels=(("app.kubernetes.io/managed-by", "helm"),))
    for item in kubernetes.objects(fleet(owned), Kept()):
        assert item.body["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "turnout"


@pytest.mark.parametrize(
    ("size", "text"),
    [(32 * GI, "32Gi"), (1536 * 1024**2, "1536Mi"), (1024**4, "1Ti"), (1000**3, "1000000000"), (1024, "1Ki"), (0, "0")],
)
def test_bytes_are_written_in_their_largest_whole_unit(size: int, text: str) -> None:
    assert bytes_text(size) == text


@pytest.mark.parametrize(("millicores", "text"), [(8000, "8"), (500, "500m"), (1500, "1500m"), (0, "0")])
def test_cores_are_written_whole_where_they_are(millicores: int, text: str) -> None:
    assert cores_text(millicores) == text


@pytest.mark.parametrize(("milliseconds", "text"), [(25, "25ms"), (60_000, "60s"), (1_500, "1500ms"), (0, "0s")])
def test_durations_are_written_in_seconds_where_they_are_whole(milliseconds: int, text: str) -> None:
    assert duration(timedelta(milliseconds=milliseconds)) == text


@pytest.mark.parametrize(("seconds", "whole"), [(10, 10), (2.5, 3), (0.5, 1), (0, 1)])
def test_probes_get_whole_seconds(seconds: float, whole: int) -> None:
    assert whole_seconds(timedelta(seconds=seconds)) == whole
