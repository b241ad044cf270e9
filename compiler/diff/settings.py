"""Models, gateways, pools, tenants and the platform: which come and go, and what of them changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from compiler.diff.leaves import Leaf, changed_leaves, plain
from compiler.fleet import Fleet, Gateway, Model, Pool, Rollout


class Change(StrEnum):
    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Setting:
    kind: str
    """model, rollout, gateway, pool, tenant or platform."""
    name: str
    change: Change
    leaves: tuple[Leaf, ...]
    """What differs, by the words of policy; empty where the whole comes or goes."""


NOT_OF_TRAFFIC = ("labels", "annotations", "servedNames")
"""They are told with the objects that they are on; the last follows from the orchestrators."""


def settings(before: Fleet, after: Fleet) -> tuple[Setting, ...]:
    pairs: tuple[tuple[str, Callable[[Fleet], dict[str, Any]]], ...] = (
        ("model", lambda of: {m.name: _model(m) for m in of.models}),
        ("rollout", lambda of: {r.name: _rollout(r) for r in of.rollouts}),
        ("gateway", lambda of: {g.name: _gateway(g) for g in of.gateways}),
        ("pool", lambda of: {p.name: _pool(p) for p in of.pools}),
        ("tenant", lambda of: {t.name: _bare(plain(t)) for t in of.tenants}),
        ("platform", lambda of: {"": _bare(plain(of.platform))}),
    )
    return tuple(s for kind, parts in pairs for s in _changed(kind, parts(before), parts(after)))


def _changed(kind: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[Setting]:
    for name in sorted({*before, *after}):
        if name not in before:
            yield Setting(kind, name, Change.ADDED, ())
        elif name not in after:
            yield Setting(kind, name, Change.REMOVED, ())
        elif leaves := tuple(changed_leaves(before[name], after[name])):
            yield Setting(kind, name, Change.CHANGED, leaves)


def _model(model: Model) -> dict[str, Any]:
    bare = _bare(plain(model))
    versions: Iterable[dict[str, Any]] = bare["versions"]
    return {
        **{key: value for key, value in bare.items() if key not in ("name", "rollout")},
        "versions": {version["name"]: {**version, "endpoints": _by_address(version)} for version in versions},
        "pool": None if model.pool is None else model.pool.name,
    }


def _by_address(version: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{e['address']}:{e['port']}": e for e in version["endpoints"]}


def _rollout(rollout: Rollout) -> dict[str, Any]:
    bare: dict[str, Any] = _bare(plain(rollout))
    return bare


def _gateway(gateway: Gateway) -> dict[str, Any]:
    """Without the orchestrator's rules, of which the classes of requests tell, but with how they measure."""
    bare = _bare(plain(gateway))
    return {
        **{key: value for key, value in bare.items() if key != "orchestrator"},
        "hosts": {host.name: str(host.carrier) for host in gateway.hosts},
        "models": dict.fromkeys(gateway.models, "listed"),
        "promptLengthUnit": str(gateway.length_unit),
    }


def _pool(pool: Pool) -> dict[str, Any]:
    bare: dict[str, Any] = _bare(plain(pool))
    return bare


def _bare(part: Any) -> Any:
    return {key: value for key, value in part.items() if key not in NOT_OF_TRAFFIC}
