"""The runtime layer of a group: what may change while routes stay as they are."""

from __future__ import annotations

from envoy.service.runtime.v3 import rtds_pb2

from compiler.fleet import Gateway
from compiler.fleet.rules import MOST_OF_A_REGEX
from xds.snapshot import ResourceSet
from xds.translate.messages import message_resource, struct

LAYER = "turnout"
SETTINGS = {
    # Envoy's own limit is 100, which a list of a dozen names is over, and for one route over it the table is refused.
    # Linking refuses what is over this one.
    "re2.max_program_size.error_level": MOST_OF_A_REGEX,
}


def runtime(gateway: Gateway) -> ResourceSet:
    """Never without its layer: Envoy asks for it first, and for nothing else before it has been answered."""
    layer = rtds_pb2.Runtime(name=LAYER, layer=struct(SETTINGS))
    return ResourceSet([message_resource(LAYER, layer, gateway.origin)])
