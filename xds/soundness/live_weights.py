"""Whether a runtime layer leaves every split with weight. Envoy does not ask: it answers 404 where none has any."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from xds.snapshot import Resource, ResourceSet, ResourceType, Snapshot, resource
from xds.soundness.constraints import unpacked
from xds.soundness.resources import CONSTRAINTS, Split
from xds.soundness.tables import parts, routes_in


class Weightless(NamedTuple):
    route: str
    """Its name; of those with one prefix the last."""
    prefix: str
    """Of its keys."""


def weightless(snapshot: Snapshot) -> list[Weightless]:
    """The splits of the route tables that get no weight by the runtime layers."""
    return [found for layer in snapshot[ResourceType.RUNTIME].values() for found in _weightless(layer, snapshot)]


def _weightless(layer: Resource, snapshot: Snapshot) -> Iterator[Weightless]:
    message: Any = unpacked(ResourceType.RUNTIME, layer.body)
    clusters = snapshot[ResourceType.CLUSTER]
    fields = message.layer.fields.items()
    live = {key: value.number_value for key, value in fields if _cluster(key) in clusters and _is_weight(value)}
    prefixes = {key.removesuffix(f".{_cluster(key)}") for key in live}
    for route, split in _splits(snapshot[ResourceType.ROUTE], prefixes):
        weights = (live.get(f"{split.prefix}.{cluster}", weight) for cluster, weight in split.weights)
        if split.prefix in prefixes and not sum(weights):
            yield Weightless(route, split.prefix)


def _cluster(key: str) -> str:
    return key.rpartition(".")[2]


def _is_weight(value: Any) -> bool:
    """Of anything else Envoy takes no notice, and the committed weight holds."""
    number: float = value.number_value
    return bool(value.WhichOneof("kind") == "number_value" and number >= 0 and number == int(number))


def _splits(tables: ResourceSet, prefixes: Iterable[str]) -> Iterator[tuple[str, Split]]:
    """Of routes that have one of these prefixes, and some that have another: the rest is not taken apart."""
    wanted = tuple(prefix.encode() for prefix in prefixes)
    for table in tables.values() if wanted else ():
        for tree in parts(table).trees:
            contents = {of: None for prefix in wanted for of in tree.routes.values() if prefix in of}
            for content in contents:
                for route in routes_in(content):
                    yield from ((route.name, of) for of in CONSTRAINTS.examined(route).noted if isinstance(of, Split))


def without(layer: Resource, prefixes: Iterable[str]) -> Resource:
    """`layer` without the keys of these splits, so that committed weights hold."""
    message: Any = unpacked(ResourceType.RUNTIME, layer.body)
    for key in [key for key in message.layer.fields if key.rpartition(".")[0] in set(prefixes)]:
        del message.layer.fields[key]
    return resource(layer.name, message.SerializeToString(deterministic=True), layer.origin)
