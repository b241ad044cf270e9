"""Snapshots made by hand: bodies that say what a real one would say, as text."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from compiler.diagnostics import Position
from xds.snapshot import Resource, ResourceSet, ResourceType, Snapshot, resource

RUNTIME, CLUSTER, ENDPOINT, LISTENER, ROUTE = (
    ResourceType.RUNTIME,
    ResourceType.CLUSTER,
    ResourceType.ENDPOINT,
    ResourceType.LISTENER,
    ResourceType.ROUTE,
)
LAYER, INGRESS, TABLE = "turnout", "ingress", "models"
ORIGIN = Position("policies/models.yaml", 4, 18)


def named(type_: ResourceType, name: str, content: object = "") -> Resource:
    return resource(name, f"{type_.label} {name} {content}".encode(), ORIGIN)


def of(type_: ResourceType, contents: Mapping[str, object]) -> ResourceSet:
    return ResourceSet(named(type_, name, content) for name, content in contents.items())


def snapshot(
    clusters: Mapping[str, object],
    endpoints: Mapping[str, object] | None = None,
    routed: Iterable[str] | None = None,
    listener: object = 1,
    layer: object = 1,
) -> Snapshot:
    """Clusters by name with what distinguishes their versions; one load assignment for each; one route table, to
    `routed` (all of them), behind one listener."""
    assignments = dict.fromkeys(clusters, 1) if endpoints is None else endpoints
    return Snapshot(
        {
            RUNTIME: of(RUNTIME, {LAYER: layer}),
            CLUSTER: of(CLUSTER, clusters),
            ENDPOINT: of(ENDPOINT, assignments),
            LISTENER: of(LISTENER, {INGRESS: listener}),
            ROUTE: of(ROUTE, {TABLE: ",".join(sorted(clusters if routed is None else routed))}),
        }
    )


def routed_clusters(table: Resource) -> set[str]:
    return {name for name in table.body.decode().split(" ")[2].split(",") if name}
