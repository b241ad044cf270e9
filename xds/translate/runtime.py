"""The runtime layer of a group: what may change while routes stay as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from envoy.service.runtime.v3 import rtds_pb2

from compiler.fleet import Gateway, Tracing
from compiler.fleet.rules import MOST_OF_A_REGEX
from xds.live.shares import LiveShares
from xds.snapshot import ResourceSet
from xds.translate.messages import message_resource, struct
from xds.translate.route_actions import mirror_key, runtime_key_prefix
from xds.translate.tracing import sampling

LAYER = "turnout"
SETTINGS = {
    # Envoy's own limit is 100, which a list of a dozen names is over, and for one route over it the table is refused.
    # Linking refuses what is over this one.
    "re2.max_program_size.error_level": MOST_OF_A_REGEX,
}


def runtime(gateway: Gateway, tracing: Tracing | None = None, live: Iterable[LiveShares] = ()) -> ResourceSet:
    """Never without its layer: Envoy asks for it first, and for nothing else before it has been answered. What it no
    longer has is what policy says."""
    keys = (pair for found in live for pair in (*_split_keys(found), *_mirror_keys(found)))
    layer = rtds_pb2.Runtime(
        name=LAYER, layer=struct({**SETTINGS, **(sampling(tracing) if tracing else {}), **dict(keys)})
    )
    return ResourceSet([message_resource(LAYER, layer, gateway.origin)])


def _split_keys(live: LiveShares) -> Iterator[tuple[str, int]]:
    prefix = runtime_key_prefix(live.route)
    return ((f"{prefix}.{share.cluster}", share.weight) for share in live.shares)


def _mirror_keys(live: LiveShares) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """A number alone would be percent."""
    for mirror in live.mirrors:
        yield mirror_key(live.route, mirror), {"numerator": mirror.weight, "denominator": "TEN_THOUSAND"}
