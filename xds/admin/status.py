"""The state of the control server as a document. Its keys are an interface."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from compiler.diagnostics import Diagnostic
from compiler.fleet import Fleet, Gateway, Model, Orchestrator, Version, cluster_name
from xds.admin.overrides import overrides
from xds.admin.standing import Standing, standing
from xds.control import LastGood, Policy
from xds.keeping import Kept
from xds.live.state import NOTHING_LIVE, LiveState, Override
from xds.snapshot import HeldBack, ResourceSet, ResourceType, Snapshot
from xds.stream.departed import Departed
from xds.stream.peer import Peer
from xds.stream.refusals import blamed, today
from xds.stream.subscription import Refusal, Subscription
from xds.stream.turned_away import TurnedAway
from xds.tls.files import Certificates
from xds.translate.group import Group

Document = dict[str, Any]
NONE_HELD: Mapping[HeldBack, Iterable[str]] = {}


def status(
    policy: Policy,
    fleet: Fleet | None,
    peers: Iterable[Peer],
    current: Callable[[Group], Snapshot | None],
    live: LiveState = NOTHING_LIVE,
    turned_away: Iterable[TurnedAway] = (),
    held_back: Mapping[HeldBack, Iterable[str]] = NONE_HELD,
    kept: Kept | None = None,
    certificates: Iterable[Certificates] = (),
    git: Document | None = None,
    departed: Iterable[Departed] = (),
) -> Document:
    """`fleet` is as policy has it. `current` gives the snapshot that a group is to have; `None` where it has none.
    `kept` is `None` where nothing is to be kept, `git` where no branch is followed."""
    return {
        "policy": {
            "state": policy.health,
            "digest": policy.digest,
            "commit": policy.commit,
            "allowed_signers": None if fleet is None else fleet.platform.allowed_signers,
            "loaded_at": None if policy.loaded_at is None else policy.loaded_at.isoformat(timespec="milliseconds"),
            "diagnostics": [_diagnostic(found) for found in policy.diagnostics],
            "last_good": None if policy.last_good is None else _last_good(policy.last_good),
        },
        "git": git,
        "kept": None if kept is None else {"digest": kept.digest, "problem": kept.problem},
        "gateways": [] if fleet is None else [_gateway(gateway) for gateway in fleet.gateways],
        "models": [] if fleet is None else [_model(model, live.in_force) for model in fleet.models],
        "overrides": overrides(live, fleet),
        "held_back": [_held_back(held, groups) for held, groups in held_back.items()],
        "envoys": [_envoy(peer, current(peer.node.group)) for peer in peers],
        "departed": [_departed(envoy) for envoy in departed],
        "turned_away": [_turned_away(client) for client in turned_away],
        "certificates": [_certificate(found) for found in certificates],
    }


def _last_good(found: LastGood) -> Document:
    since = found.since.isoformat(timespec="milliseconds")
    return {"since": since, "reason": found.reason, "fleet": found.fleet}


def _held_back(held: HeldBack, groups: Iterable[str]) -> Document:
    return {
        "code": held.code,
        "type": held.type.label,
        "name": held.name,
        "breaks": held.constraint,
        "kept": held.kept,
        "groups": list(groups),
        "origin": str(held.origin),
    }


def _certificate(found: Certificates) -> Document:
    """`problem` is of the files as they are by now, where they are not what is served with; else empty."""
    return {"of": found.of, "expires_at": found.loaded.not_after.isoformat(), "problem": found.problem}


def _departed(envoy: Departed) -> Document:
    return {"node": envoy.node, "group": envoy.group, "left_at": _moment(envoy.at)}


def _turned_away(client: TurnedAway) -> Document:
    last = _moment(client.last)
    return {"client": client.client, "reason": client.reason, "times": client.times, "last_at": last}


def _moment(seconds: float) -> str:
    """Of seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def _diagnostic(found: Diagnostic) -> Document:
    return {
        "code": found.code,
        "severity": found.severity,
        "file": found.position.file,
        "line": found.position.line,
        "column": found.position.column,
        "message": found.message,
        "hint": found.hint,
    }


def _gateway(gateway: Gateway) -> Document:
    return {
        "name": gateway.name,
        "hosts": [{"name": host.name, "carrier": host.carrier} for host in gateway.hosts],
        "listeners": [{"port": listener.port, "protocol": listener.protocol} for listener in gateway.listeners],
        "models": list(gateway.models),
        "orchestrator": None if gateway.orchestrator is None else _orchestrator(gateway.orchestrator),
        "origin": str(gateway.origin),
    }


def _orchestrator(orchestrator: Orchestrator) -> Document:
    return {
        "name": orchestrator.name,
        "rules": [rule.name for rule in orchestrator.rules],
        "capabilities": [{"model": member.model, "has": list(member.capabilities)} for member in orchestrator.members],
        "default": [{"model": target.model, "weight": target.weight} for target in orchestrator.default],
        "fallback": {
            "onExplicitModel": orchestrator.fallback.on_explicit_model,
            "chain": [
                {"model": hop.model, "equivalentTo": list(hop.equivalent_to)} for hop in orchestrator.fallback.hops
            ],
        },
        "origin": str(orchestrator.origin),
    }


def _model(model: Model, live: Mapping[str, Override]) -> Document:
    override = live.get(model.name)
    return {
        "name": model.name,
        "aliases": list(model.aliases),
        "versions": [_version(model, version, override) for version in model.versions],
        "origin": str(model.origin),
    }


def _version(model: Model, version: Version, override: Override | None) -> Document:
    """`weight` is policy's; `live` the one that holds in its place, null where none does."""
    return {
        "name": version.name,
        "weight": version.weight,
        "live": None if override is None else override.weight(version.name),
        "cluster": cluster_name(model.name, version.name),
        "endpoints": [
            {"address": e.address, "port": e.port, "zone": e.zone, "tier": e.tier, "weight": e.weight}
            for e in version.endpoints
        ],
    }


def _envoy(peer: Peer, snapshot: Snapshot | None) -> Document:
    subscriptions = peer.state.subscriptions
    return {
        "node": peer.node.id,
        "group": peer.node.group.name,
        "identity": peer.node.identity,
        "zone": peer.node.zone,
        "service": peer.service.label,
        "variant": peer.state.variant,
        "synced": standing(peer, snapshot) is Standing.SYNCED,
        "types": {
            type_.label: _type(subscriptions[type_], None if snapshot is None else snapshot[type_])
            for type_ in ResourceType
            if type_ in subscriptions
        },
    }


def _type(sub: Subscription, wanted: ResourceSet | None) -> Document:
    return {
        "wanted": None if wanted is None else wanted.version,
        "sent": sub.sent,
        "acknowledged": sub.acknowledged,
        "outstanding": len(sub.outstanding),
        "refused": [_refusal(found, wanted) for _, found in sorted(sub.refused.items())],
    }


def _refusal(found: Refusal, wanted: ResourceSet | None) -> Document:
    """The line is where the resource stands by now, as long as it is the same one. `route` is the one of a table that
    is to blame, null where that is not known."""
    refused = today(found.resource, wanted)
    kept = None if found.good is None else found.good.version
    name, origin = blamed(refused, found.good)
    return {
        "name": refused.name,
        "route": name if name != refused.name else None,
        "version": refused.version,
        "kept": kept,
        "detail": found.detail,
        "origin": str(origin),
    }
