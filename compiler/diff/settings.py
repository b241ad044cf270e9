"""Models, gateways, pools, tenants and the platform: which come and go, and what of them changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from compiler.diff.leaves import Leaf, changed_leaves, plain
from compiler.fleet import Fleet, Gateway, Model


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
    found = (
        _changed("model", _by_name(before.models), _by_name(after.models), _model),
        _changed("rollout", _by_name(before.rollouts), _by_name(after.rollouts), _words),
        _changed("gateway", _by_name(before.gateways), _by_name(after.gateways), _gateway),
        _changed("pool", _by_name(before.pools), _by_name(after.pools), _words),
        _changed("tenant", _by_name(before.tenants), _by_name(after.tenants), _words),
        _changed("platform", {"": before.platform}, {"": after.platform}, _words),
    )
    return tuple(setting for of_kind in found for setting in of_kind)


Part = TypeVar("Part")


class Named(Protocol):
    @property
    def name(self) -> str: ...


Of = TypeVar("Of", bound=Named)


def _by_name(parts: Iterable[Of]) -> dict[str, Of]:
    return {part.name: part for part in parts}


def _changed(
    kind: str, before: Mapping[str, Part], after: Mapping[str, Part], words: Callable[[Part], dict[str, Any]]
) -> Iterator[Setting]:
    for name in sorted({*before, *after}):
        if name not in before:
            yield Setting(kind, name, Change.ADDED, ())
        elif name not in after:
            yield Setting(kind, name, Change.REMOVED, ())
        elif before[name] is after[name]:
            continue  # what an edit leaves alone, where both sides were compiled one after the other
        elif leaves := tuple(changed_leaves(words(before[name]), words(after[name]))):
            yield Setting(kind, name, Change.CHANGED, leaves)


def _model(model: Model) -> dict[str, Any]:
    bare = _words(model)
    versions: Iterable[dict[str, Any]] = bare["versions"]
    return {
        **{key: value for key, value in bare.items() if key not in ("name", "rollout")},
        "versions": {version["name"]: {**version, "endpoints": _by_address(version)} for version in versions},
        "timeouts": _as_written(bare["timeouts"]),
        "pool": None if model.pool is None else model.pool.name,
    }


def _as_written(timeouts: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """By `stream` and `unary`, as policy has them."""
    return {
        "stream": {key: timeouts[f"stream{key[0].upper()}{key[1:]}"] for key in ("firstByte", "idle", "total")},
        "unary": {"total": timeouts["unaryTotal"]},
    }


def _by_address(version: Mapping[str, Any]) -> dict[str, Any]:
    return {f"{e['address']}:{e['port']}": e for e in version["endpoints"]}


def _gateway(gateway: Gateway) -> dict[str, Any]:
    """Without the orchestrator's rules, of which the classes of requests tell, but with how they measure."""
    bare = _words(gateway)
    return {
        **{key: value for key, value in bare.items() if key != "orchestrator"},
        "hosts": {host.name: str(host.carrier) for host in gateway.hosts},
        "models": dict.fromkeys(gateway.models, "listed"),
        "promptLengthUnit": str(gateway.length_unit),
    }


def _words(part: Any) -> dict[str, Any]:
    """As policy has it, but for what is told with objects."""
    return {key: value for key, value in plain(part).items() if key not in NOT_OF_TRAFFIC}
