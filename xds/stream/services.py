"""The discovery services, on one port: ADS, which carries every type, and one for each type by itself."""

from __future__ import annotations

from dataclasses import dataclass

from xds.snapshot import ResourceType
from xds.stream.state import Variant


@dataclass(frozen=True, slots=True)
class Service:
    name: str
    """As gRPC calls it."""
    label: str
    """For people and `/status`: `ADS`, `CDS`, …"""
    type: ResourceType | None
    """The type that it implies, and the only one; `None` for ADS, where each request names its own."""
    resources: str
    """As its methods call them."""

    def method(self, variant: Variant) -> str:
        return f"{STREAMS[variant]}{self.resources}"


STREAMS = {Variant.SOTW: "Stream", Variant.DELTA: "Delta"}

ADS = Service("envoy.service.discovery.v3.AggregatedDiscoveryService", "ADS", None, "AggregatedResources")
SEPARATE = (
    Service("envoy.service.runtime.v3.RuntimeDiscoveryService", "RTDS", ResourceType.RUNTIME, "Runtime"),
    Service("envoy.service.cluster.v3.ClusterDiscoveryService", "CDS", ResourceType.CLUSTER, "Clusters"),
    Service("envoy.service.endpoint.v3.EndpointDiscoveryService", "EDS", ResourceType.ENDPOINT, "Endpoints"),
    Service("envoy.service.listener.v3.ListenerDiscoveryService", "LDS", ResourceType.LISTENER, "Listeners"),
    Service("envoy.service.route.v3.RouteDiscoveryService", "RDS", ResourceType.ROUTE, "Routes"),
)
SERVICES = (ADS, *SEPARATE)
