"""The runtime layer of a group: what may change while routes stay as they are."""

from __future__ import annotations

from envoy.service.runtime.v3 import rtds_pb2

from compiler.fleet import Gateway
from xds.snapshot import ResourceSet
from xds.translate.messages import message_resource

LAYER = "turnout"


def runtime(gateway: Gateway) -> ResourceSet:
    """Never without its layer: Envoy asks for it first, and for nothing else before it has been answered."""
    return ResourceSet([message_resource(LAYER, rtds_pb2.Runtime(name=LAYER, layer={}), gateway.origin)])
