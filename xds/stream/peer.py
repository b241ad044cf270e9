"""An Envoy with a stream open, as others than the stream itself see it."""

from __future__ import annotations

from dataclasses import dataclass, field

from xds.stream.node import Node
from xds.stream.services import ADS, Service
from xds.stream.siblings import Beside
from xds.stream.state import StreamState


@dataclass(frozen=True, slots=True)
class Peer:
    """One of its streams: it may have several, see `siblings`."""

    node: Node
    state: StreamState
    service: Service = ADS
    beside: Beside = field(default_factory=dict)
