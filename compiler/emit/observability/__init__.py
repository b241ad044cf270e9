"""What tells how a fleet is: monitors, rules and a dashboard where Platform says where metrics are, and Telemetry where
it says where spans go and Istio carries.

Monitors and rules need prometheus-operator's definitions in the cluster; without them nothing of a folder is applied at
all. So they come by policy alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from compiler.diagnostics import Diagnostic
from compiler.emit.names import platform_owner
from compiler.emit.object import Object, Wave, metadata
from compiler.emit.observability import alerts, monitors, recordings
from compiler.emit.observability.dashboard import dashboard, datasource
from compiler.emit.observability.telemetry import telemetry
from compiler.emit.observability.watched import Watched, watched
from compiler.fleet import Carrier, Fleet, Platform
from compiler.kept import Kept

_MONITORING = "monitoring.coreos.com/v1"
_ROOT_NAMESPACE = "istio-system"
"""Istio's default; where its ingress gateway runs."""


def objects(fleet: Fleet, kept: Kept) -> Iterator[Object]:
    platform = kept.same("observed platform", fleet.platform)
    if platform.prometheus is not None:
        own = kept.same("places of Envoys", _namespaces_of_envoys(fleet))
        yield from kept.of(_collected, platform, watched(fleet.models, kept), own)
    hosts = kept.same("hosts of Istio", _hosts_of_istio(fleet))
    if platform.tracing is not None and hosts:
        yield kept.of(_telemetry, platform, hosts)


def diagnostics(fleet: Fleet, kept: Kept) -> Iterator[Diagnostic]:
    return iter(())


def _namespaces_of_envoys(fleet: Fleet) -> tuple[str, ...]:
    own = (gateway for gateway in fleet.gateways if any(host.carrier is Carrier.ENVOY for host in gateway.hosts))
    return tuple(sorted({gateway.namespace for gateway in own}))


def _hosts_of_istio(fleet: Fleet) -> tuple[str, ...]:
    return tuple(host.name for gateway in fleet.gateways for host in gateway.hosts if host.carrier is Carrier.ISTIO)


def _collected(platform: Platform, found: Watched, envoys: tuple[str, ...]) -> tuple[Object, ...]:
    return tuple(_collected_objects(platform, found, envoys))


def _collected_objects(platform: Platform, found: Watched, envoys: tuple[str, ...]) -> Iterator[Object]:
    assert platform.prometheus is not None
    place = platform, platform.namespace

    def of(file: str, api_version: str, kind: str, name: str, **content: Any) -> Object:
        return _object(file, api_version, kind, name, _labels(kind, name), place, content)

    if found.namespaces:
        spec = monitors.engines(found.namespaces)
        yield of("monitors", _MONITORING, "PodMonitor", "turnout-engines", spec=spec)
    if envoys:
        yield of("monitors", _MONITORING, "PodMonitor", "turnout-envoys", spec=monitors.envoys(envoys))
        spec = monitors.control_server(platform.namespace)
        yield of("monitors", _MONITORING, "ServiceMonitor", "turnout-control", spec=spec)
    recorded = {"groups": list(recordings.groups(found.engines))}
    yield of("rules", _MONITORING, "PrometheusRule", "turnout-recordings", spec=recorded)
    told = {"groups": list(alerts.groups(found, own_envoys=bool(envoys)))}
    yield of("rules", _MONITORING, "PrometheusRule", "turnout-alerts", spec=told)
    yield of("grafana", "v1", "ConfigMap", "turnout-dashboard", data={"turnout-models.json": dashboard()})
    yield of("grafana", "v1", "ConfigMap", "turnout-datasource", data={"turnout.yaml": datasource(platform.prometheus)})


def _labels(kind: str, name: str) -> Mapping[str, str]:
    """By which Grafana's sidecars find what is for them."""
    return {f"grafana_{name.removeprefix('turnout-')}": "1"} if kind == "ConfigMap" else {}


def _telemetry(platform: Platform, hosts: tuple[str, ...]) -> Object:
    assert platform.tracing is not None
    spec = telemetry(platform.tracing, hosts)
    place = platform, _ROOT_NAMESPACE
    return _object("telemetry", "telemetry.istio.io/v1", "Telemetry", "turnout", {}, place, {"spec": spec})


def _object(
    file: str,
    api_version: str,
    kind: str,
    name: str,
    labels: Mapping[str, str],
    place: tuple[Platform, str],
    content: Mapping[str, Any],
) -> Object:
    """`place`: whose it is, and its namespace."""
    platform, namespace = place
    body = {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": metadata(name, platform_owner(platform, namespace), platform.origin, Wave.OBSERVATION, labels),
        **content,
    }
    return Object(f"observability/{file}.yaml", body, platform.origin)
