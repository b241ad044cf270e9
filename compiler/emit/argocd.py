"""The Argo CD Applications that sync what is rendered, no wider than it is.

Argo CD applies the fleet, and what it must leave to others follows from the ownership ledger. So the Applications are
made of the other objects, and come last. They stand in a folder of their own: it belongs to the cluster in which
Argo CD runs, which need not be the fleet's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from typing import Any

from compiler.diagnostics import Diagnostic, error
from compiler.emit.object import Object, Owner, Wave, metadata
from compiler.fleet import IN_CLUSTER, Argocd, Platform
from compiler.kept import Kept
from compiler.ownership import Row, group, ledger

FOLDER = "argocd"
_API_VERSION = "argoproj.io/v1alpha1"
_RETRY = {"limit": 5, "backoff": {"duration": "5s", "factor": 2, "maxDuration": "3m"}}
_SYNC_OPTIONS = (
    "ServerSideApply=true",
    # What others write is left to them when Argo CD syncs, and not only when it compares.
    "RespectIgnoreDifferences=true",
    # It waits for each wave to be healthy. Of all objects, one model that finds no GPU, or a cache on a node that is
    # lost, would keep every route of the fleet from changing, its own among them.
    "ApplyOutOfSyncOnly=true",
    "PruneLast=true",
)
_WAY_OUT = "another name, or argocd: {project: …} in the folder of one of them"


@dataclass(frozen=True, slots=True)
class Contents:
    """Of what is rendered, that which an Application depends on."""

    rows: tuple[Row, ...]
    namespaces: tuple[str, ...]
    """Sorted."""
    cluster_kinds: tuple[tuple[str, str], ...]
    """Group and kind of objects of the whole cluster, sorted."""
    namespaced_kinds: tuple[tuple[str, str], ...]


def objects(platform: Platform, environment: str, made: Sequence[Object], kept: Kept) -> tuple[Object, ...]:
    """Nothing unless Platform names a repository. `made` is all else of the environment."""
    if platform.argocd is None:
        return ()
    contents = kept.same(("argocd", environment), _contents(made))
    return kept.by(_objects, (platform, environment, contents), _objects, (platform, environment, contents))


def twins(platforms: Mapping[str, Platform]) -> Iterator[tuple[str, Diagnostic]]:
    """Of each environment, by its name: what one Argo CD would take for an Application of another, too."""
    called: dict[tuple[str, str], list[str]] = defaultdict(list)
    of_argocd = {name: platform.argocd for name, platform in platforms.items() if platform.argocd is not None}
    for environment, argocd in of_argocd.items():
        for name in _names(argocd, environment):
            called[argocd.namespace, name].append(environment)
    first: dict[tuple[str, ...], str] = {}
    for (_, name), several in called.items():
        first.setdefault(tuple(several), name)
    for those, name in first.items():
        named = " and ".join(f"'{environment}'" for environment in those)
        said = f"Applications of {named} both become {name}"
        for environment in those if len(those) > 1 else ():
            yield environment, error("P207", of_argocd[environment].origin, said, _WAY_OUT)


def _names(argocd: Argocd, environment: str) -> tuple[str, str]:
    """Of the Application that syncs the fleet, and of the one that syncs both."""
    name = f"{argocd.project}-{environment.replace('.', '-')}" if environment else argocd.project
    return name, f"{name}-{FOLDER}"


def _contents(made: Sequence[Object]) -> Contents:
    spaces: set[str] = set()
    whole: set[tuple[str, str]] = set()
    namespaced: set[tuple[str, str]] = set()
    for item in made:
        namespace = item.body["metadata"].get("namespace")
        kind = group(item.body["apiVersion"]), item.body["kind"]
        if namespace is None:
            whole.add(kind)
        else:
            spaces.add(namespace)
            namespaced.add(kind)
    return Contents(ledger(made), tuple(sorted(spaces)), tuple(sorted(whole)), tuple(sorted(namespaced)))


def _objects(platform: Platform, environment: str, contents: Contents) -> tuple[Object, ...]:
    argocd = platform.argocd
    assert argocd is not None
    name, own_name = _names(argocd, environment)
    path = f"{argocd.path}/{environment}" if environment else argocd.path
    fleet = {"namespace": platform.namespace, "server": argocd.server}
    itself = {"namespace": argocd.namespace, "server": IN_CLUSTER}
    own = ("argoproj.io", "AppProject"), ("argoproj.io", "Application")
    spaces = [{"namespace": namespace, "server": argocd.server} for namespace in contents.namespaces]
    return (
        _project(platform, name, spaces, contents.cluster_kinds, contents.namespaced_kinds),
        _application(platform, name, path, fleet, _ignored(contents.rows)),
        _project(platform, own_name, [itself], (), own),
        _application(platform, own_name, f"{path}/{FOLDER}", itself, []),
    )


def _project(
    platform: Platform,
    name: str,
    destinations: list[dict[str, str]],
    cluster_kinds: Iterable[tuple[str, str]],
    namespaced_kinds: Iterable[tuple[str, str]],
) -> Object:
    """What its Application may touch: the namespaces and kinds that are rendered, and no other."""
    argocd = platform.argocd
    assert argocd is not None
    spec = {
        "description": "Rendered by turnout",
        "sourceRepos": [argocd.repo_url],
        "destinations": destinations,
        "clusterResourceWhitelist": _kinds(cluster_kinds),
        "namespaceResourceWhitelist": _kinds(namespaced_kinds),
    }
    return _object(platform, "AppProject", name, Wave.FOUNDATION, spec)


def _application(
    platform: Platform, name: str, path: str, destination: dict[str, str], ignored: list[dict[str, Any]]
) -> Object:
    """In the project of its name."""
    argocd = platform.argocd
    assert argocd is not None
    spec: dict[str, Any] = {
        "project": name,
        "source": {"repoURL": argocd.repo_url, "targetRevision": argocd.target_revision, "path": path},
        "destination": destination,
        "syncPolicy": {
            "automated": {"prune": True, "selfHeal": True},
            "retry": _RETRY,
            "syncOptions": list(_SYNC_OPTIONS),
        },
    }
    if ignored:
        spec["ignoreDifferences"] = ignored
    return _object(platform, "Application", name, Wave.ACCESS, spec)


def _ignored(rows: tuple[Row, ...]) -> list[dict[str, Any]]:
    """One entry for each object, with the very fields that others write."""
    return [_ignoring(list(those)) for _, those in groupby(rows, key=attrgetter("object"))]


def _ignoring(rows: list[Row]) -> dict[str, Any]:
    row = rows[0]
    named = {"group": row.group, "kind": row.kind, "namespace": row.namespace, "name": row.name}
    fields = list(dict.fromkeys(row.handover.field for row in rows))
    return {**{key: value for key, value in named.items() if value}, "jsonPointers": fields}


def _kinds(kinds: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"group": of, "kind": kind} for of, kind in kinds]


def _object(platform: Platform, kind: str, name: str, wave: Wave, spec: dict[str, Any]) -> Object:
    argocd = platform.argocd
    assert argocd is not None
    owner = Owner("turnout", argocd.namespace, (), ())
    body = {
        "apiVersion": _API_VERSION,
        "kind": kind,
        "metadata": metadata(name, owner, argocd.origin, wave),
        "spec": spec,
    }
    return Object(f"{FOLDER}/{kind.lower()}s.yaml", body, argocd.origin)
