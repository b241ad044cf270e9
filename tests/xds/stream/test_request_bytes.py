"""Bytes that somebody sends as discovery requests: read, or refused with a reason, and soon done with.

`make examples` tries far more.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.xds.stream.client import Client
from tests.xds.stream.snapshots import snapshot
from xds.snapshot import ResourceType
from xds.stream.limits import NAMES, ExcessError
from xds.stream.node import stated
from xds.stream.server import FRAMINGS
from xds.stream.state import StreamState, Variant
from xds.stream.transitions import Framing, Received, Sent, Transitions

SNAPSHOT = snapshot({"chat": 1, "embed": 1})
LAST = "n" * 16
"""Stands for the nonce of the last response, which is as long."""
KINDS = {Variant.SOTW: discovery_pb2.DiscoveryRequest, Variant.DELTA: discovery_pb2.DeltaDiscoveryRequest}
ANSWERS = {Variant.SOTW: discovery_pb2.DiscoveryResponse, Variant.DELTA: discovery_pb2.DeltaDiscoveryResponse}

texts = st.one_of(st.sampled_from(["", "*", "chat", "embed", "turnout", *ResourceType]), st.text(max_size=8))
names = st.lists(texts, max_size=4)
nodes = st.fixed_dictionaries({}, optional={"id": texts, "cluster": texts, "metadata": st.dictionaries(texts, texts)})
both = pytest.mark.parametrize("framing", FRAMINGS, ids=lambda framing: framing.variant)


@st.composite
def requests(draw: st.DrawFn, variant: Variant) -> bytes:
    """Well-formed, with whatever in it."""
    message: Any = KINDS[variant](type_url=draw(st.sampled_from([*ResourceType, "", "other"])))
    message.response_nonce = draw(st.sampled_from(["", LAST, "stale"]))
    if draw(st.booleans()):
        message.error_detail.message = draw(texts)
    for key, value in draw(nodes).items():
        if key == "metadata":
            message.node.metadata.update({"turnout": value, **value})
        else:
            setattr(message.node, key, value)
    if variant is Variant.SOTW:
        message.resource_names.extend(draw(names))
        message.version_info = draw(texts)
    else:
        message.resource_names_subscribe.extend(draw(names))
        message.resource_names_unsubscribe.extend(draw(names))
        message.initial_resource_versions.update(draw(st.dictionaries(texts, texts, max_size=3)))
    return bytes(message.SerializeToString())


@st.composite
def damaged(draw: st.DrawFn, variant: Variant) -> bytes:
    whole = bytearray(draw(requests(variant)))
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(whole)))
        whole[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return bytes(whole)


def talk(framing: Framing, said: Sequence[bytes]) -> StreamState:
    """What a stream comes to that is sent all of `said`; it ends at the first that is refused."""
    transitions = Transitions()
    state = transitions.shared(StreamState(framing.variant))
    nonce = LAST
    for number, raw in enumerate(said):
        try:
            if number == 0:
                stated(framing.parsed(raw).node)
            received = transitions.received(framing, state, raw.replace(LAST.encode(), nonce[: len(LAST)].encode()))
        except (DecodeError, ValueError):
            return state
        state = received.state if isinstance(received, Received) else state
        for _ in range(100):
            step = transitions.next(framing, state, SNAPSHOT, lambda _: None)
            state = step.state
            if not isinstance(step, Sent):
                break
            nonce = ANSWERS[framing.variant].FromString(step.response).nonce
        else:
            raise AssertionError("the server never stops talking")
    return state


@both
@settings(deadline=None)
@given(st.data())
def test_any_bytes_are_read_or_refused(framing: Framing, data: st.DataObject) -> None:
    talk(framing, data.draw(st.lists(st.binary(max_size=200), max_size=5)))


@both
@settings(deadline=None)
@given(st.data())
def test_any_requests_are_answered_or_refused(framing: Framing, data: st.DataObject) -> None:
    one = st.one_of(requests(framing.variant), damaged(framing.variant))
    state = talk(framing, data.draw(st.lists(one, min_size=1, max_size=6)))
    assert all(len(sub.outstanding) <= 64 for sub in state.subscriptions.values())


@both
def test_more_names_than_any_envoy_has_are_refused(framing: Framing) -> None:
    field = "resource_names" if framing.variant is Variant.SOTW else "resource_names_subscribe"
    state, transitions = StreamState(framing.variant), Transitions()

    def asked(*asking: str) -> bytes:
        return bytes(KINDS[framing.variant](type_url=ResourceType.ENDPOINT, **{field: asking}).SerializeToString())

    several = [f"n{n}" for n in range(NAMES)]
    found = transitions.received(framing, state, asked(*several))
    assert isinstance(found, Received)
    with pytest.raises(ExcessError, match="10,001 names of one type; 10,000 are the limit"):
        transitions.received(framing, found.state, asked(*several, "more") if "_s" not in field else asked("more"))


def test_a_node_that_is_too_large_or_would_forge_a_line_of_the_log_is_refused() -> None:
    for id_, wrong in (("x" * (65 << 10), ExcessError), ("gw-1\n2026 ERROR policy broken", ValueError)):
        message = discovery_pb2.DiscoveryRequest()
        message.node.id, message.node.cluster = id_, "default"
        with pytest.raises(wrong):
            stated(message.node)


def test_delta_names_that_are_given_up_before_they_are_answered_count_as_asked_for() -> None:
    """Under a wildcard each is answered once more; a client could go on for ever."""
    (framing,) = [framing for framing in FRAMINGS if framing.variant is Variant.DELTA]
    transitions = Transitions()

    def asked(state: StreamState, more: list[str], less: list[str]) -> StreamState:
        message = discovery_pb2.DeltaDiscoveryRequest(
            type_url=ResourceType.LISTENER, resource_names_subscribe=more, resource_names_unsubscribe=less
        )
        found = transitions.received(framing, state, message.SerializeToString())
        assert isinstance(found, Received)
        return found.state

    many = [f"n{n}" for n in range(NAMES)]
    state = asked(asked(asked(StreamState(Variant.DELTA), ["*"], []), many, []), [], many)
    assert state.named == NAMES
    with pytest.raises(ExcessError, match="10,001 names of one type; 10,000 are the limit"):
        asked(state, ["more"], [])


def test_delta_all_there_is_may_be_asked_for_again_however_much_it_is() -> None:
    (framing,) = [framing for framing in FRAMINGS if framing.variant is Variant.DELTA]
    client = Client(Variant.DELTA, snapshot({f"c{n}": 1 for n in range(NAMES + 1)}))
    client.ask(ResourceType.CLUSTER, "*")
    client.settle()
    again = discovery_pb2.DeltaDiscoveryRequest(type_url=ResourceType.CLUSTER, resource_names_subscribe=["*"])
    found = Transitions().received(framing, client.state, again.SerializeToString())
    assert isinstance(found, Received)
    assert len(found.state.subscriptions[ResourceType.CLUSTER].owed) == NAMES + 1
