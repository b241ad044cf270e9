"""Routes do not lead an Envoy to a cluster that it has refused and never had."""

from __future__ import annotations

from dataclasses import replace

import pytest

from compiler.fleet import Model
from tests.xds.soundness.spoiling import routes
from tests.xds.stream.client import Client
from tests.xds.translate.fleets import endpoint, fleet, model, version
from xds.snapshot import ResourceType, Snapshot
from xds.stream.lacking import without_lacking
from xds.stream.state import Variant
from xds.translate import Group, snapshot

RUNTIME, CLUSTER, ENDPOINT, LISTENER, ROUTE = ResourceType
variants = pytest.mark.parametrize("variant", Variant)


def made(*models: Model) -> Snapshot:
    return snapshot(fleet(*models), Group("default"))


def before() -> Snapshot:
    return made(model("chat", (version("1.0"),)), model("embed"))


def after() -> Snapshot:
    """`chat` has a canary, and `embed` another name beside its own."""
    canary = (version("1.0", 90, (endpoint(9001),)), version("1.1", 10, (endpoint(9002),)))
    return made(model("chat", canary), model("embed", aliases=("e",)))


def refusing(variant: Variant, wanted: Snapshot, *names: str) -> Client:
    """Was in sync, and has refused the clusters of those names."""
    client = Client(variant, before())
    client.subscribed()
    client.snapshot = wanted
    while updates := client.updates():
        for update in updates:
            refused = update.type is CLUSTER and any(of.name in names for of in update.resources)
            (client.refuse if refused else client.accept)(update)
    return client


@variants
def test_the_routes_that_would_lead_there_stay_and_all_others_move(variant: Variant) -> None:
    client = refusing(variant, after(), "chat_1-1")
    found = without_lacking(client.state, client.snapshot)
    assert routes(found, "chat")[0].route.cluster == "chat_1-0"
    assert routes(found, "e")[0].route.cluster == "embed_1"
    assert found.aside == {"chat_1-1"}
    assert "chat_1-1" in found[CLUSTER]  # wanted all the same


def test_where_nothing_is_refused_nothing_is_left_out() -> None:
    client = refusing(Variant.DELTA, after())
    assert without_lacking(client.state, client.snapshot) is client.snapshot


def test_a_cluster_that_it_has_in_an_older_version_may_be_led_to() -> None:
    ejecting = replace(model("chat").outlier_detection, max_ejection_percent=50)
    changed = made(model("chat", (version("1.0"),), outlier_detection=ejecting), model("embed"))
    client = refusing(Variant.DELTA, changed, "chat_1-0")
    assert client.state.subscriptions[CLUSTER].refused.keys() == {"chat_1-0"}
    assert without_lacking(client.state, client.snapshot) is client.snapshot


def test_of_a_client_that_only_says_what_it_has_nothing_is_guessed() -> None:
    client = Client(Variant.DELTA, after())
    client.ask(ROUTE, "default", versions={"default": "of another server"})
    client.ask(CLUSTER)
    while updates := client.updates():
        for update in updates:
            (client.refuse if update.type is CLUSTER else client.accept)(update)
    assert client.state.subscriptions[CLUSTER].refused
    assert without_lacking(client.state, client.snapshot) is client.snapshot
