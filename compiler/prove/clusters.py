"""Which environments Argo CD would sync to one cluster, where each undoes what another writes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from compiler.diagnostics import Diagnostic, info
from compiler.fleet import Argocd, Fleet

_WAY_OUT = "argocd: {server: …} in each environment's folder; nothing where each cluster has an Argo CD of its own"


def findings(fleets: Mapping[str, Fleet]) -> Iterator[tuple[str, Diagnostic]]:
    """Of each environment, by its name."""
    of_cluster: dict[tuple[str, str], list[tuple[str, Argocd]]] = defaultdict(list)
    for name, fleet in fleets.items():
        if (argocd := fleet.platform.argocd) is not None:
            of_cluster[argocd.server, argocd.namespace].append((name, argocd))
    for (server, _), those in of_cluster.items():
        spaces = {fleets[name].platform.namespace for name, _ in those}
        # An object of the whole cluster is called the same in all of them, as an object of a namespace is.
        what = "PriorityClasses and Queues" if len(spaces) == len(those) else f"all of namespace {min(spaces)}"
        named = ", ".join(name for name, _ in those)
        said = f"one Argo CD would sync {named} to one cluster, {server}: {what} would have two writers"
        yield from ((name, info("P453", argocd.origin, said, _WAY_OUT)) for name, argocd in those if len(those) > 1)
