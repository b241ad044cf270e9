"""The sentences of the xDS protocol, over real gRPC, in both variants from one table.

Links are to https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import grpc
import pytest

from tests.features.ads import CLUSTER, ENDPOINT, LISTENER, ROUTE, RUNTIME, Answer, Stream, route_names, stream
from tests.features.served import DEADLINE, Folder, Served, cluster, model, served
from xds.stream.state import Variant

SOTW, DELTA = Variant.SOTW, Variant.DELTA
CHAT, EMBED, NEW = cluster("chat"), cluster("embed"), cluster("new")
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
ALONE = 500
"""Bytes: more than one resource here takes, and less than a list of them."""


class World:
    """A control server with the models `chat` and `embed`, and an Envoy of `variant` with a stream to it."""

    def __init__(self, folder: Folder, server: Served, envoy: Stream, stack: AsyncExitStack) -> None:
        self.folder, self.server, self.envoy = folder, server, envoy
        self.variant = envoy.variant
        self._stack = stack

    async def edit(self, *texts: str) -> None:
        """Returns when it is served."""
        before = (await self.server.status())["policy"]["digest"]
        self.folder.write("models", "---\n".join(texts))
        await self.server.until(lambda s: s["policy"]["state"] == "ok" and s["policy"]["digest"] != before)

    async def models(self, *names: str) -> None:
        await self.edit(*(model(name) for name in names))

    async def another(self, **node: Any) -> Stream:
        """Another stream to the same server."""
        return await self._stack.enter_async_context(stream(self.server.xds, self.variant, **node))

    async def replica(self) -> Stream:
        """A stream to another server of the same policies, that remembers nothing."""
        server = await self._stack.enter_async_context(served(self.folder.path))
        await server.until(lambda s: s["policy"]["state"] == "ok")
        return await self._stack.enter_async_context(stream(server.xds, self.variant))


Scenario = Callable[[World], Awaitable[None]]


@dataclass(frozen=True)
class Sentence:
    section: str
    """The anchor in the protocol's text."""
    says: str
    scenario: Scenario
    variants: tuple[Variant, ...] = (SOTW, DELTA)


# How the client specifies what resources to return


async def naming_nothing_is_a_wildcard(w: World) -> None:
    await w.envoy.ask(CLUSTER)
    assert (await w.envoy.accepted()).names == {CHAT, EMBED}
    await w.models("chat", "embed", "new")
    assert NEW in (await w.envoy.accepted()).names


async def a_star_is_a_wildcard(w: World) -> None:
    await w.envoy.ask(CLUSTER, "*")
    assert (await w.envoy.accepted()).names == {CHAT, EMBED}
    await w.models("chat", "embed", "new")
    assert NEW in (await w.envoy.accepted()).names


async def a_star_may_stand_beside_names(w: World) -> None:
    await w.envoy.ask(CLUSTER, "*", NEW)
    first = await w.envoy.accepted()
    assert first.names == {CHAT, EMBED}
    assert first.removed == ((NEW,) if w.variant is DELTA else ())
    await w.models("chat", "embed", "new", "other")
    seen = set()
    while not seen >= {NEW, cluster("other")}:
        seen |= (await w.envoy.accepted()).names


async def a_wildcard_over_nothing_is_answered(w: World) -> None:
    await w.edit("apiVersion: turnout.dev/v1\nkind: Platform\nmetadata: {name: platform}\nspec: {}\n")
    await w.envoy.ask(CLUSTER)
    answer = await w.envoy.accepted()
    assert (answer.type, answer.names) == (CLUSTER, set())
    await w.envoy.ask(LISTENER)
    assert (await w.envoy.accepted()).type is LISTENER


async def the_example_of_the_text_in_state_of_the_world(w: World) -> None:
    await w.envoy.request(CLUSTER)
    first = await w.envoy.read()
    assert first.names == {CHAT, EMBED}
    await w.envoy.request(CLUSTER, resource_names=["*", CHAT], response_nonce=first.nonce, version_info=first.version)
    second = await w.envoy.read()
    assert second.names == {CHAT, EMBED}
    await w.envoy.request(CLUSTER, resource_names=[CHAT], response_nonce=second.nonce, version_info=second.version)
    await w.models("chat", "embed", "new")
    await w.envoy.quiet()
    await w.envoy.request(CLUSTER, response_nonce=second.nonce, version_info=second.version)
    await w.edit(model("chat", tail=POOL), model("embed"))
    await w.envoy.quiet()


async def naming_something_ends_the_old_wildcard(w: World) -> None:
    await w.envoy.ask(CLUSTER)
    await w.envoy.accepted()
    await w.envoy.ask(CLUSTER, CHAT)
    assert (await w.envoy.accepted()).names == {CHAT}
    await w.edit(model("chat"), model("embed", tail=POOL), model("new"))
    await w.envoy.quiet()
    await w.edit(model("chat", tail=POOL), model("embed", tail=POOL), model("new"))
    assert (await w.envoy.accepted()).names == {CHAT}


async def the_example_of_the_text_in_delta(w: World) -> None:
    await w.envoy.request(CLUSTER)
    assert (await w.envoy.accepted()).names == {CHAT, EMBED}
    await w.envoy.request(CLUSTER, resource_names_subscribe=[CHAT])
    assert (await w.envoy.accepted()).names == {CHAT}
    await w.models("chat", "embed", "new")
    assert (await w.envoy.accepted()).names == {NEW}
    await w.envoy.request(CLUSTER, resource_names_unsubscribe=["*"])
    await w.edit(model("chat", tail=POOL), model("embed", tail=POOL), model("new"))
    assert (await w.envoy.accepted()).names == {CHAT}
    await w.envoy.request(CLUSTER, resource_names_unsubscribe=[CHAT])
    await w.edit(model("chat"), model("embed"), model("new"))
    await w.envoy.quiet()


async def a_request_that_only_unsubscribes_is_no_wildcard(w: World) -> None:
    await w.envoy.request(CLUSTER, resource_names_unsubscribe=[CHAT])
    await w.envoy.quiet()


async def naming_nothing_is_nothing_for_other_types(w: World) -> None:
    await w.envoy.ask(ENDPOINT)
    await w.envoy.ask(ROUTE)
    await w.envoy.quiet()


async def only_what_is_asked_for_is_sent(w: World) -> None:
    await w.envoy.ask(ENDPOINT, EMBED)
    assert (await w.envoy.accepted()).names == {EMBED}
    for port in (9005, 9006, 9007):
        await w.edit(model("chat", port), model("embed"))
    await w.envoy.quiet()


async def what_is_newly_asked_for_is_sent_though_unchanged(w: World) -> None:
    await w.envoy.ask(ENDPOINT, CHAT)
    assert (await w.envoy.accepted()).names == {CHAT}
    await w.envoy.ask(ENDPOINT, EMBED)
    assert EMBED in (await w.envoy.accepted()).names


async def what_is_dropped_is_not_sent_and_comes_when_it_is_asked_for_again(w: World) -> None:
    await w.envoy.ask(ENDPOINT, CHAT, EMBED)
    await w.envoy.accepted()
    await w.envoy.drop(ENDPOINT, CHAT)
    await w.edit(model("chat", 9005), model("embed", 9006))
    assert (await w.envoy.accepted()).names == {EMBED}
    await w.envoy.drop(ENDPOINT, EMBED)
    await w.edit(model("chat", 9007), model("embed", 9008))
    await w.envoy.quiet()
    await w.envoy.ask(ENDPOINT, EMBED)
    assert ports(await w.envoy.accepted()) == {EMBED: [9008]}
    await w.envoy.ask(ENDPOINT, CHAT)
    assert ports(await w.envoy.accepted()) == {CHAT: [9007]}


async def an_unchanged_name_that_was_dropped_is_sent_again(w: World) -> None:
    await w.envoy.ask(ENDPOINT, CHAT, EMBED)
    first = await w.envoy.accepted()
    await w.envoy.drop(ENDPOINT, CHAT)
    await w.envoy.ask(ENDPOINT, CHAT)
    again = await w.envoy.accepted()
    assert again.resources == {CHAT: first.resources[CHAT]}


async def a_name_that_was_dropped_before_the_last_response_was_seen_is_sent_again(w: World) -> None:
    await w.envoy.ask(ENDPOINT, CHAT, EMBED)
    first = await w.envoy.accepted()
    await w.edit(model("chat"), model("embed", 9005))
    last = await w.envoy.read()
    for names, answered in (([EMBED], first), ([CHAT, EMBED], first), ([CHAT, EMBED], last)):
        said = {"response_nonce": answered.nonce, "version_info": answered.version}
        await w.envoy.request(ENDPOINT, resource_names=names, **said)
    assert (await w.envoy.accepted()).resources == {CHAT: first.resources[CHAT]}


# Delta: subscribing and unsubscribing


async def what_the_client_has_already_is_sent_again_when_it_asks(w: World) -> None:
    await w.envoy.ask(ENDPOINT, CHAT, EMBED)
    first = await w.envoy.accepted()
    for _ in range(2):
        await w.envoy.request(ENDPOINT, resource_names_subscribe=[CHAT])
        again = await w.envoy.accepted()
        assert again.versions == {CHAT: first.versions[CHAT]}
    await w.envoy.ask(CLUSTER)
    warming = [await w.envoy.accepted() for _ in range(2)]
    assert [answer.names for answer in warming] == [{CHAT, EMBED}] * 2
    await w.envoy.request(CLUSTER, resource_names_subscribe=[CHAT])
    found = [await w.envoy.accepted() for _ in range(2)]
    assert [(answer.type, answer.names) for answer in found] == [(CLUSTER, {CHAT}), (ENDPOINT, {CHAT})]


async def all_that_the_client_has_is_sent_again_when_it_asks_for_all_again(w: World) -> None:
    await w.envoy.ask(CLUSTER, "*")
    first = await w.envoy.accepted()
    for unsubscribed in ([], ["*"]):  # a client may have dropped it and taken it up again between two requests
        await w.envoy.request(CLUSTER, resource_names_subscribe=["*"], resource_names_unsubscribe=unsubscribed)
        assert (await w.envoy.accepted()).versions == first.versions
    await w.envoy.quiet()


async def the_old_wildcard_goes_on_when_it_is_named(w: World) -> None:
    await w.envoy.ask(CLUSTER)
    await w.envoy.accepted()
    await w.envoy.request(CLUSTER, resource_names_subscribe=["*"])
    await w.envoy.quiet()
    await w.models("chat", "embed", "new")
    assert (await w.envoy.accepted()).names == {NEW}


async def one_request_may_both_subscribe_and_unsubscribe(w: World) -> None:
    await w.envoy.ask(ENDPOINT, CHAT)
    await w.envoy.accepted()
    await w.envoy.request(ENDPOINT, resource_names_subscribe=[EMBED], resource_names_unsubscribe=[CHAT])
    assert (await w.envoy.accepted()).names == {EMBED}
    await w.edit(model("chat", 9005), model("embed"))
    await w.envoy.quiet()
    await w.edit(model("chat", 9005), model("embed", 9006))
    assert (await w.envoy.accepted()).names == {EMBED}


async def what_was_never_asked_for_may_be_unsubscribed(w: World) -> None:
    await w.envoy.ask(ENDPOINT, CHAT)
    await w.envoy.accepted()
    await w.envoy.request(ENDPOINT, resource_names_unsubscribe=[EMBED, "nobody", "*"])
    await w.envoy.quiet()
    await w.edit(model("chat", 9005), model("embed", 9006))
    assert (await w.envoy.accepted()).names == {CHAT}


async def the_end_of_a_name_under_a_wildcard_is_answered(w: World) -> None:
    await w.envoy.ask(CLUSTER, "*", CHAT, "nobody")
    assert (await w.envoy.accepted()).removed == ("nobody",)
    await w.envoy.request(CLUSTER, resource_names_unsubscribe=[CHAT, "nobody"])
    answer = await w.envoy.accepted()
    assert (answer.names, answer.removed) == ({CHAT}, ("nobody",))
    await w.edit(model("chat", tail=POOL), model("embed"))
    assert (await w.envoy.accepted()).names == {CHAT}


async def unsubscribing_without_a_wildcard_is_not_answered(w: World) -> None:
    await w.envoy.ask(ENDPOINT, CHAT, EMBED)
    await w.envoy.accepted()
    await w.envoy.request(ENDPOINT, resource_names_unsubscribe=[CHAT])
    await w.envoy.quiet()


# Knowing when a requested resource does not exist


async def what_does_not_exist_is_said_once(w: World) -> None:
    await w.envoy.ask(ENDPOINT, CHAT, "nobody")
    answer = await w.envoy.accepted()
    assert (answer.names, answer.removed) == ({CHAT}, ("nobody",))
    await w.edit(model("chat", 9005), model("embed"))
    answer = await w.envoy.accepted()
    assert (answer.names, answer.removed) == ({CHAT}, ())
    await w.envoy.quiet()
    await w.envoy.request(ENDPOINT, resource_names_subscribe=["nobody"])
    assert (await w.envoy.accepted()).removed == ("nobody",)


async def a_layer_that_does_not_exist_is_answered(w: World) -> None:
    """An Envoy asks for nothing else before it has been."""
    await w.envoy.ask(RUNTIME, "nobody")
    answer = await w.envoy.accepted()
    assert answer.removed == (("nobody",) if w.variant is DELTA else ())
    assert {name: len(layer.layer.fields) for name, layer in answer.resources.items()} == (
        {"nobody": 0} if w.variant is SOTW else {}
    )
    await w.envoy.quiet()


async def what_comes_into_existence_is_sent(w: World) -> None:
    await w.envoy.ask(ENDPOINT, CHAT, NEW)
    assert (await w.envoy.accepted()).names == {CHAT}
    await w.models("chat", "embed", "new")
    assert (await w.envoy.accepted()).names == {NEW}


async def what_is_deleted_is_said_once_and_sent_when_it_is_back(w: World) -> None:
    await w.envoy.synced()
    await w.models("embed")
    seen = [await w.envoy.accepted() for _ in range(3)]
    assert [(answer.type, answer.removed) for answer in seen] == [(ROUTE, ()), (CLUSTER, (CHAT,)), (ENDPOINT, (CHAT,))]
    await w.edit(model("embed", 9005))
    assert ports(await w.envoy.accepted()) == {EMBED: [9005]}
    await w.envoy.quiet()
    await w.edit(model("embed", 9005), model("chat"))
    seen = [await w.envoy.accepted() for _ in range(3)]
    assert [answer.type for answer in seen] == [CLUSTER, ENDPOINT, ROUTE]


async def a_list_without_a_resource_deletes_it(w: World) -> None:
    await w.envoy.synced()
    await w.models("embed")
    assert (await w.envoy.accepted()).type is ROUTE
    answer = await w.envoy.accepted()
    assert (answer.type, answer.names) == (CLUSTER, {EMBED})
    await w.envoy.quiet()


# Grouping resources into responses


async def lists_are_whole_where_the_variant_has_lists(w: World) -> None:
    await w.envoy.synced()
    await w.edit(model("chat", tail=POOL), model("embed"))
    answer = await w.envoy.accepted()
    assert (answer.type, answer.names) == (CLUSTER, {CHAT, EMBED} if w.variant is SOTW else {CHAT})


async def a_changed_load_assignment_goes_alone(w: World) -> None:
    await w.envoy.synced()
    await w.edit(model("chat", 9005), model("embed"))
    answer = await w.envoy.accepted()
    assert ports(answer) == {CHAT: [9005]}
    assert len(answer.raw) < ALONE
    await w.envoy.quiet()


async def a_changed_route_table_goes_alone(w: World) -> None:
    await w.envoy.synced()
    await w.edit(model("chat", tail="  aliases: [talk]\n"), model("embed"))
    answer = await w.envoy.accepted()
    assert (answer.type, len(answer.names)) == (ROUTE, 1)
    await w.envoy.quiet()


async def each_type_has_a_version_of_its_own(w: World) -> None:
    before = await w.envoy.synced()
    await w.edit(model("chat", 9005), model("embed"))
    after = await w.envoy.accepted()
    assert after.version != before[ENDPOINT].version
    assert len({answer.version for answer in (after, *before.values())}) == 1 + len(before)
    await w.models("chat", "embed")
    assert (await w.envoy.accepted()).version == before[ENDPOINT].version


# ACK, NACK and nonces


async def after_an_acknowledgement_there_is_silence_until_something_changes(w: World) -> None:
    await w.envoy.synced(clusters=[CHAT])
    await w.envoy.quiet()
    for port in range(9005, 9010):
        await w.edit(model("chat"), model("embed", port))
    await w.envoy.quiet()
    await w.edit(model("chat", 9011), model("embed"))
    assert (await w.envoy.accepted()).names == {CHAT}


async def what_was_refused_is_not_sent_again_until_it_changes(w: World) -> None:
    await w.envoy.synced()
    await w.edit(model("chat", 9005), model("embed"))
    await w.envoy.refuse(await w.envoy.read(), "malformed IP address")
    await w.envoy.quiet()
    await w.edit(model("chat", 9005), model("embed", 9006))
    assert (await w.envoy.accepted()).names == {EMBED}
    await w.edit(model("chat", 9007), model("embed", 9006))
    assert ports(await w.envoy.accepted()) == {CHAT: [9007]}


async def what_was_refused_is_sent_again_to_a_client_that_asks_for_it(w: World) -> None:
    await w.envoy.ask(ENDPOINT, CHAT, EMBED)
    await w.envoy.accepted()
    await w.edit(model("chat", 9005), model("embed"))
    await w.envoy.refuse(await w.envoy.read(), "malformed IP address")
    await w.envoy.quiet()
    await w.envoy.drop(ENDPOINT, CHAT)
    await w.envoy.ask(ENDPOINT, CHAT)
    assert ports(await w.envoy.accepted()) == {CHAT: [9005]}


async def the_last_good_one_stays_in_whole_lists(w: World) -> None:
    await w.envoy.synced()
    await w.edit(model("chat", tail=POOL), model("embed"))
    await w.envoy.refuse(await w.envoy.read(), "no")
    await w.envoy.accepted()  # the load assignment again
    await w.edit(model("chat", tail=POOL), model("embed", tail=POOL))
    lists = await w.envoy.accepted()
    timeouts = {name: message.connect_timeout.seconds for name, message in lists.resources.items()}
    assert timeouts == {CHAT: 1, EMBED: 7}


async def a_refusal_with_a_stale_nonce_refuses_nothing(w: World) -> None:
    await w.envoy.ask(ENDPOINT, CHAT)
    old = await w.envoy.accepted()
    await w.edit(model("chat", 9005), model("embed"))
    new = await w.envoy.read()
    await w.envoy.refuse(old, "no")
    await w.envoy.quiet()
    await w.envoy.accept(new)
    status = await w.server.until(lambda s: s["envoys"][0]["synced"])
    assert status["envoys"][0]["types"]["endpoint"]["refused"] == []
    await w.envoy.quiet()


async def the_names_of_a_request_with_a_stale_nonce_do_not_count(w: World) -> None:
    await w.envoy.ask(ENDPOINT, CHAT)
    old = await w.envoy.accepted()
    await w.edit(model("chat", 9005), model("embed"))
    new = await w.envoy.read()
    await w.envoy.ask(ENDPOINT, EMBED, nonce=old.nonce)
    await w.envoy.quiet()
    await w.envoy.accept(new)
    assert (await w.envoy.accepted()).names == {EMBED}


async def names_count_with_a_stale_nonce_too(w: World) -> None:
    await w.envoy.ask(ENDPOINT, CHAT)
    old = await w.envoy.accepted()
    await w.edit(model("chat", 9005), model("embed"))
    new = await w.envoy.read()
    await w.envoy.ask(ENDPOINT, EMBED, nonce=old.nonce)
    assert (await w.envoy.accepted()).names == {EMBED}
    await w.envoy.drop(ENDPOINT, CHAT)
    await w.envoy.accept(new)
    await w.edit(model("chat", 9007), model("embed", 9008))
    assert (await w.envoy.accepted()).names == {EMBED}


# Only the first request says who asks


async def the_node_comes_with_the_first_request_only(w: World) -> None:
    await w.envoy.synced()
    await w.edit(model("chat", 9005), model("embed"))
    assert (await w.envoy.accepted()).names == {CHAT}
    status = await w.server.until(lambda s: s["envoys"][0]["synced"])
    assert status["envoys"][0]["node"] == "gw-1"


async def another_node_in_a_later_request_changes_nothing(w: World) -> None:
    await w.envoy.ask(LISTENER)
    first = await w.envoy.accepted()
    other = {"id": "other", "cluster": "sidecar", "metadata": {"turnout": {"port": "many"}}}
    await w.envoy.request(ROUTE, node=other, **wanted(w, *route_names(first)))
    assert (await w.envoy.accepted()).names == {"default"}
    status = await w.server.status()
    assert [(envoy["node"], envoy["group"]) for envoy in status["envoys"]] == [("gw-1", "default")]


async def a_stream_without_a_node_is_refused(w: World) -> None:
    nobody = await w.another(node_id="", cluster="")
    await nobody.request(CLUSTER)
    code, reason = await nobody.ended()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert reason.startswith("X105 the first request must name its node")
    await w.envoy.synced()


# Streams that break, and other replicas


async def nothing_unchanged_is_sent_after_a_reconnect(w: World) -> None:
    before = await w.envoy.synced()
    for envoy in (await w.another(), await w.replica()):
        for type_ in (CLUSTER, LISTENER):
            await envoy.ask(type_, version=before[type_].version, versions=before[type_].versions)
        await envoy.quiet()


async def what_has_changed_is_sent_after_a_reconnect(w: World) -> None:
    before = await w.envoy.synced()
    await w.edit(model("chat", 9005), model("embed"))
    envoy = await w.replica()
    for type_, answer in before.items():
        names = () if type_ in (CLUSTER, LISTENER) else answer.names
        await envoy.ask(type_, *names, version=answer.version, versions=answer.versions)
    change = await envoy.accepted()
    while change.type in (RUNTIME, ROUTE):  # in state of the world, what is asked for by name comes again
        change = await envoy.accepted()
    assert (change.type, ports(change)[CHAT]) == (ENDPOINT, [9005])
    assert w.variant is SOTW or change.names == {CHAT}


async def what_has_gone_is_named_after_a_reconnect(w: World) -> None:
    before = await w.envoy.synced()
    await w.models("embed")
    envoy = await w.replica()
    for type_, answer in before.items():
        names = () if type_ in (CLUSTER, LISTENER) else answer.names
        await envoy.ask(type_, *names, versions=answer.versions)
    assert (await envoy.accepted()).type is ROUTE
    removal = await envoy.accepted()
    assert (removal.type, removal.names, removal.removed) == (CLUSTER, set(), (CHAT,))


async def versions_that_nobody_ever_sent_are_set_right(w: World) -> None:
    before = await w.envoy.synced()
    envoy = await w.replica()
    versions = {**before[CLUSTER].versions, EMBED: "wrong"}
    await envoy.ask(CLUSTER, versions=versions)
    answer = await envoy.accepted()
    assert answer.versions == {EMBED: before[CLUSTER].versions[EMBED]}
    await envoy.ask(ENDPOINT, CHAT, EMBED, versions={CHAT: before[ENDPOINT].versions[CHAT], EMBED: "wrong"})
    assert (await envoy.accepted()).versions == {EMBED: before[ENDPOINT].versions[EMBED]}
    await envoy.quiet()


async def versions_of_names_that_are_not_asked_for_say_nothing(w: World) -> None:
    await w.envoy.ask(ENDPOINT, CHAT, versions={EMBED: "old"})
    answer = await w.envoy.accepted()
    assert (answer.names, answer.removed) == ({CHAT}, ())
    await w.envoy.quiet()


async def a_version_that_nobody_knows_brings_the_whole_list(w: World) -> None:
    await w.envoy.ask(CLUSTER, version="of another world")
    assert (await w.envoy.accepted()).names == {CHAT, EMBED}
    await w.envoy.quiet()


async def a_nonce_does_not_survive_its_stream(w: World) -> None:
    before = await w.envoy.synced()
    envoy = await w.replica()
    await envoy.ask(CLUSTER, nonce=before[CLUSTER].nonce)
    assert (await envoy.accepted()).names == {CHAT, EMBED}
    await envoy.ask(ENDPOINT, CHAT, nonce=before[ENDPOINT].nonce)
    assert (await envoy.accepted()).names == {CHAT}
    await envoy.ask(LISTENER, nonce="never sent")
    assert (await envoy.accepted()).type is LISTENER
    await envoy.quiet()


# Types


async def an_unknown_type_is_not_answered_and_disturbs_nothing(w: World) -> None:
    await w.envoy.ask(SECRET, "tls")
    await w.envoy.synced()
    assert await w.server.metric("turnout_unknown_type_requests_total") == 1


async def a_request_without_a_type_ends_its_stream(w: World) -> None:
    careless = await w.another()
    await careless.ask("")
    code, reason = await careless.ended()
    assert code is grpc.StatusCode.INVALID_ARGUMENT
    assert "must name its own" in reason
    await w.envoy.synced()


# Eventual consistency: the order


async def listeners_and_routes_come_after_the_clusters_are_accepted(w: World) -> None:
    await w.envoy.ask(LISTENER)
    first = await w.envoy.accepted()  # it has not named any clusters yet, so nothing is in the way
    await w.envoy.ask(CLUSTER)
    clusters = await w.envoy.read()
    await w.envoy.ask(ROUTE, *route_names(first))
    await w.envoy.ask(ENDPOINT, CHAT)
    assert (await w.envoy.accepted()).type is ENDPOINT
    await w.envoy.quiet()
    await w.envoy.accept(clusters)
    assert (await w.envoy.accepted()).type is ROUTE


async def a_changed_cluster_is_warmed_by_its_unchanged_load_assignment(w: World) -> None:
    before = await w.envoy.synced()
    await w.edit(model("chat", tail=POOL), model("embed"))
    clusters, assignments = await w.envoy.read(), await w.envoy.read()
    assert (clusters.type, assignments.type) == (CLUSTER, ENDPOINT)
    assert assignments.resources == {CHAT: before[ENDPOINT].resources[CHAT]}
    await w.envoy.accept(clusters, assignments)
    await w.envoy.quiet()


async def a_model_is_added_before_and_removed_after_the_routes_move(w: World) -> None:
    await w.envoy.synced()
    await w.models("embed", "new")
    added = await w.envoy.read()
    assert (added.type, added.removed) == (CLUSTER, ())
    assert added.names == ({CHAT, EMBED, NEW} if w.variant is SOTW else {NEW})
    await w.envoy.ask(ENDPOINT, NEW)
    assert (await w.envoy.accepted()).names == {NEW}
    await w.envoy.quiet()
    await w.envoy.accept(added)
    routes = await w.envoy.read()
    assert routes.type is ROUTE
    await w.envoy.quiet()
    await w.envoy.accept(routes)
    removal = await w.envoy.accepted()
    assert removal.type is CLUSTER
    assert (removal.names, removal.removed) == (({EMBED, NEW}, ()) if w.variant is SOTW else (set(), (CHAT,)))


async def a_removal_waits_for_the_routes_of_its_own_stream_only(w: World) -> None:
    slow = await w.another(node_id="slow")
    for envoy in (w.envoy, slow):
        await envoy.synced()
    await w.models("embed")
    routes = {envoy: await envoy.read() for envoy in (w.envoy, slow)}
    assert {answer.type for answer in routes.values()} == {ROUTE}
    await w.envoy.accept(routes[w.envoy])
    assert (await w.envoy.accepted()).type is CLUSTER
    await slow.quiet()
    await slow.accept(routes[slow])
    assert (await slow.accepted()).type is CLUSTER


async def a_removal_does_not_come_while_the_routes_are_refused(w: World) -> None:
    await w.envoy.synced()
    await w.models("embed")
    await w.envoy.refuse(await w.envoy.read(), "no")
    await w.envoy.quiet()


POOL = "  traffic: {connectionPool: {connectTimeout: 7s}}\n"
HINTS = "xds-protocol-resource-hints"
UNSUBSCRIBE = "xds-protocol-unsubscribe"
EXIST = "xds-protocol-resource-not-existed"
GROUPING = "grouping-resources-into-responses"
OVERVIEW = "basic-protocol-overview"
ACKS = "xds-ack-nack"
ORDER = "xds-protocol-eventual-consistency-considerations"
DELTAS = "xds-protocol-delta"

SENTENCES = (
    Sentence(HINTS, "no names at all are a subscription to *", naming_nothing_is_a_wildcard),
    Sentence(HINTS, "a wildcard subscription is triggered by the name *", a_star_is_a_wildcard),
    Sentence(HINTS, "* and names may be subscribed to together", a_star_may_stand_beside_names),
    Sentence(HINTS, "a wildcard is answered, though there is nothing", a_wildcard_over_nothing_is_answered),
    Sentence(HINTS, "the four requests of the example", the_example_of_the_text_in_state_of_the_world, (SOTW,)),
    Sentence(HINTS, "the four requests of the example", the_example_of_the_text_in_delta, (DELTA,)),
    Sentence(HINTS, "a list without * ends the wildcard", naming_something_ends_the_old_wildcard, (SOTW,)),
    Sentence(HINTS, "requests must specify the names for other types", naming_nothing_is_nothing_for_other_types),
    Sentence(HINTS, "names are a hint to what the client wants", only_what_is_asked_for_is_sent),
    Sentence(HINTS, "newly requested resources are sent", what_is_newly_asked_for_is_sent_though_unchanged),
    Sentence(HINTS, "newly requested, though unchanged since", an_unchanged_name_that_was_dropped_is_sent_again),
    Sentence(
        HINTS,
        "newly requested, while another response is on its way",
        a_name_that_was_dropped_before_the_last_response_was_seen_is_sent_again,
        (SOTW,),
    ),
    Sentence(
        "xds-protocol-unsubscribing",
        "names that are left out are unsubscribed from",
        what_is_dropped_is_not_sent_and_comes_when_it_is_asked_for_again,
    ),
    Sentence(
        DELTAS,
        "the old wildcard has no names in both fields",
        a_request_that_only_unsubscribes_is_no_wildcard,
        (DELTA,),
    ),
    Sentence(
        "xds-protocol-delta-subscribe",
        "what the client has already must be provided still",
        what_the_client_has_already_is_sent_again_when_it_asks,
        (DELTA,),
    ),
    Sentence(
        "xds-protocol-delta-subscribe",
        "what the client has already must be provided still: * too",
        all_that_the_client_has_is_sent_again_when_it_asks_for_all_again,
        (DELTA,),
    ),
    Sentence(
        HINTS,
        "* after the old wildcard continues the subscription",
        the_old_wildcard_goes_on_when_it_is_named,
        (DELTA,),
    ),
    Sentence(
        UNSUBSCRIBE, "one request subscribes and unsubscribes", one_request_may_both_subscribe_and_unsubscribe, (DELTA,)
    ),
    Sentence(
        UNSUBSCRIBE, "phantom unsubscriptions are ignored", what_was_never_asked_for_may_be_unsubscribed, (DELTA,)
    ),
    Sentence(
        UNSUBSCRIBE, "no response to an unsubscription", unsubscribing_without_a_wildcard_is_not_answered, (DELTA,)
    ),
    Sentence(
        UNSUBSCRIBE, "but there is one under a wildcard", the_end_of_a_name_under_a_wildcard_is_answered, (DELTA,)
    ),
    Sentence(
        EXIST, "a resource that does not exist is in removed_resources", what_does_not_exist_is_said_once, (DELTA,)
    ),
    Sentence(EXIST, "a layer is empty rather than awaited", a_layer_that_does_not_exist_is_answered),
    Sentence(EXIST, "a resource that springs into existence is sent", what_comes_into_existence_is_sent),
    Sentence(
        "deleting-resources",
        "deleted resources are in removed_resources",
        what_is_deleted_is_said_once_and_sent_when_it_is_back,
        (DELTA,),
    ),
    Sentence(
        "deleting-resources",
        "a cluster that is not in a new response is removed",
        a_list_without_a_resource_deletes_it,
        (SOTW,),
    ),
    Sentence(GROUPING, "LDS and CDS are the complete state of the world", lists_are_whole_where_the_variant_has_lists),
    Sentence(GROUPING, "other types are sent as they change", a_changed_load_assignment_goes_alone),
    Sentence(GROUPING, "other types are sent as they change: routes", a_changed_route_table_goes_alone),
    Sentence(ACKS, "each resource type has its own version", each_type_has_a_version_of_its_own),
    Sentence(
        "xds-protocol-resource-update",
        "updates are sent only when resources have changed",
        after_an_acknowledgement_there_is_silence_until_something_changes,
    ),
    Sentence(ACKS, "NACK: the same is not sent in a loop", what_was_refused_is_not_sent_again_until_it_changes),
    Sentence(ACKS, "NACK: what is asked for anew is sent", what_was_refused_is_sent_again_to_a_client_that_asks_for_it),
    Sentence(ACKS, "NACK: the last good one is kept", the_last_good_one_stays_in_whole_lists, (SOTW,)),
    Sentence(ACKS, "a nonce says which response is refused", a_refusal_with_a_stale_nonce_refuses_nothing),
    Sentence(
        "resource-updates",
        "no response to a request with a stale nonce",
        the_names_of_a_request_with_a_stale_nonce_do_not_count,
        (SOTW,),
    ),
    Sentence(
        DELTAS,
        "subscriptions are honoured even if the nonce is stale",
        names_count_with_a_stale_nonce_too,
        (DELTA,),
    ),
    Sentence(
        OVERVIEW,
        "only the first request carries the node",
        the_node_comes_with_the_first_request_only,
    ),
    Sentence(
        OVERVIEW,
        "it is sufficient to check the first message for the node",
        another_node_in_a_later_request_changes_nothing,
    ),
    Sentence(OVERVIEW, "a stream begins with the node", a_stream_without_a_node_is_refused),
    Sentence(
        ACKS,
        "a version is not a property of a stream, so it is known to others",
        nothing_unchanged_is_sent_after_a_reconnect,
    ),
    Sentence(ACKS, "what has changed since that version is sent", what_has_changed_is_sent_after_a_reconnect),
    Sentence(ACKS, "an unknown version says nothing", a_version_that_nobody_knows_brings_the_whole_list, (SOTW,)),
    Sentence(OVERVIEW, "a nonce does not survive its stream", a_nonce_does_not_survive_its_stream),
    Sentence(DELTAS, "initial_resource_versions: deleted", what_has_gone_is_named_after_a_reconnect, (DELTA,)),
    Sentence(DELTAS, "initial_resource_versions: wrong", versions_that_nobody_ever_sent_are_set_right, (DELTA,)),
    Sentence(
        DELTAS,
        "all names of interest come again",
        versions_of_names_that_are_not_asked_for_say_nothing,
        (DELTA,),
    ),
    Sentence(
        "resource-types", "other types are not ours to answer", an_unknown_type_is_not_answered_and_disturbs_nothing
    ),
    Sentence("resource-types", "each request names its type", a_request_without_a_type_ends_its_stream),
    Sentence(ORDER, "LDS after CDS and EDS", listeners_and_routes_come_after_the_clusters_are_accepted),
    Sentence(
        "xds-protocol-resource-warming",
        "a cluster needs a new load assignment though nothing changed",
        a_changed_cluster_is_warmed_by_its_unchanged_load_assignment,
    ),
    Sentence(ORDER, "make before break", a_model_is_added_before_and_removed_after_the_routes_move),
    Sentence(ORDER, "stale clusters can then be removed", a_removal_waits_for_the_routes_of_its_own_stream_only),
    Sentence(ORDER, "stale clusters: not before", a_removal_does_not_come_while_the_routes_are_refused),
)


@pytest.mark.parametrize(
    ("sentence", "variant"),
    [
        pytest.param(sentence, variant, id=f"{sentence.scenario.__name__}-{variant}")  # type: ignore[attr-defined]
        for sentence in SENTENCES
        for variant in sentence.variants
    ],
)
def test_the_server_does_what_the_protocol_says(sentence: Sentence, variant: Variant, folder: Folder) -> None:
    asyncio.run(asyncio.wait_for(said(sentence, variant, folder), 3 * DEADLINE))


async def said(sentence: Sentence, variant: Variant, folder: Folder) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(served(folder.path))
        await server.until(lambda s: s["policy"]["state"] == "ok")
        envoy = await stack.enter_async_context(stream(server.xds, variant))
        await sentence.scenario(World(folder, server, envoy, stack))


def wanted(w: World, *names: str) -> dict[str, Any]:
    """The fields of a request that asks for these."""
    return {"resource_names" if w.variant is SOTW else "resource_names_subscribe": names}


def ports(answer: Answer) -> dict[str, list[int]]:
    """Of the instances in each load assignment."""
    return {
        name: [
            host.endpoint.address.socket_address.port_value for part in found.endpoints for host in part.lb_endpoints
        ]
        for name, found in answer.resources.items()
    }
