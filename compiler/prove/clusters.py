"""Which environments Argo CD would sync to one cluster, where each undoes what another writes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from compiler.diagnostics import Diagnostic, error, info
from compiler.fleet import IN_CLUSTER, Argocd, Fleet
from compiler.fleet.names import CLUSTERS_NAMESPACES

_WAY_OUT = "argocd: {server: …} in each environment's folder"


def findings(fleets: Mapping[str, Fleet]) -> Iterator[tuple[str, Diagnostic]]:
    """Of each environment, by its name."""
    argocds = {name: fleet.platform.argocd for name, fleet in fleets.items() if fleet.platform.argocd is not None}
    of_cluster: dict[tuple[str, str], list[str]] = defaultdict(list)
    for name, argocd in argocds.items():
        of_cluster[argocd.server, argocd.namespace if _is_unsaid(argocd) else ""].append(name)
    for those in of_cluster.values():
        for names, what in _shared({name: fleets[name] for name in those}) if len(those) > 1 else ():
            yield from ((name, _finding(argocds[name], names, what)) for name in names)


def _is_unsaid(argocd: Argocd) -> bool:
    """Whether its cluster is the one that Argo CD runs in, whichever that is."""
    return argocd.server.startswith(IN_CLUSTER)


def _shared(fleets: Mapping[str, Fleet]) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Environments of one cluster with the namespaces that they have in common; none where it is the cluster alone."""
    holders: dict[str, list[str]] = defaultdict(list)
    for name, fleet in fleets.items():
        for namespace in _namespaces(fleet):
            holders[namespace].append(name)
    by_holders: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for namespace, names in sorted(holders.items()):
        by_holders[tuple(names)].append(namespace)
    if tuple(fleets) not in by_holders:
        yield tuple(fleets), ()
    yield from ((names, tuple(namespaces)) for names, namespaces in by_holders.items() if len(names) > 1)


def _namespaces(fleet: Fleet) -> frozenset[str]:
    """Those that are rendered, with what holds for every pod in them."""
    of_parts = (part.namespace for parts in (fleet.models, fleet.gateways) for part in parts)
    return frozenset((fleet.platform.namespace, *of_parts)) - CLUSTERS_NAMESPACES


def _finding(argocd: Argocd, names: tuple[str, ...], namespaces: tuple[str, ...]) -> Diagnostic:
    what = f"all of namespace {', '.join(namespaces)}" if namespaces else "PriorityClasses and Queues"
    said = f"{', '.join(names)} to one cluster, {argocd.server}: {what} would have two writers"
    if _is_unsaid(argocd):
        hint = f"{_WAY_OUT}; nothing where each cluster has an Argo CD of its own"
        return info("P453", argocd.origin, f"one Argo CD would sync {said}", hint)
    if not namespaces:
        return info("P453", argocd.origin, f"Argo CD would sync {said}", _WAY_OUT)
    return error("P453", argocd.origin, f"Argo CD would sync {said}", f"{_WAY_OUT}, or another namespace")
