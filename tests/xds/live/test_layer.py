"""Runtime keys of live weights beside the route table that they are for: what an Envoy makes of both."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.service.runtime.v3 import rtds_pb2
from google.protobuf import json_format

from compiler.evaluate import evaluate
from compiler.fleet import (
    Carrier,
    Fallback,
    Fleet,
    Gateway,
    Hop,
    Host,
    Mirror,
    Model,
    OnExplicitModel,
    Route,
    Share,
    Target,
    routes,
)
from compiler.fleet.routes import WHOLE
from compiler.request import Request
from tests.chance import Chance
from tests.xds.translate.fleets import ORIGIN, fleet, gateway, model, orchestrator, version
from xds.live.shares import Before
from xds.live.state import NOTHING_LIVE, LiveState, Override, apply_live, follow_policy
from xds.snapshot import ResourceType
from xds.translate import Group, group_names, layer, snapshot
from xds.translate.group import group_gateway
from xds.translate.runtime import LAYER

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
LATER = NOW + timedelta(minutes=1)
Values = Mapping[str, Any]


def live(**models: Mapping[str, int]) -> LiveState:
    return LiveState({name: Override(w, NOW, NOW + timedelta(hours=1), "why") for name, w in models.items()})


def values(of: Fleet, state: LiveState, group: str = "default", before: tuple[Before, ...] = ()) -> Values:
    body = layer(of, group, state, before)[LAYER].body
    found: Values = json_format.MessageToDict(rtds_pb2.Runtime.FromString(body).layer)
    return {key: value for key, value in found.items() if key.startswith(("split.", "mirror."))}


@dataclass(frozen=True)
class Split:
    """Of Envoy's route table: the weight of each cluster."""

    prefix: str
    weights: Mapping[str, int]

    def read(self, layer: Values) -> Mapping[str, int]:
        """As Envoy does: a cluster without a key keeps the table's weight."""
        return {name: int(layer.get(f"{self.prefix}.{name}", weight)) for name, weight in self.weights.items()}


def actions(of: Fleet, group: str = "default") -> Iterator[tuple[str, Any]]:
    """The action of every route of the table that forwards, by the route's name."""
    for resource in snapshot(of, Group(group))[ResourceType.ROUTE].values():
        (host,) = route_pb2.RouteConfiguration.FromString(resource.body).virtual_hosts
        boxes = [found.action for found in host.matcher.matcher_tree.exact_match_map.map.values()]
        for box in (*boxes, host.matcher.on_no_match.action):
            found = route_components_pb2.RouteList()
            box.typed_config.Unpack(found)
            yield from ((route.name.removesuffix("/stream"), route.route) for route in found.routes)


def splits(of: Fleet, group: str = "default") -> Mapping[str, Split]:
    found = {}
    for name, action in actions(of, group):
        split = action.weighted_clusters
        if split.clusters:
            found[name] = Split(split.runtime_key_prefix, {c.name: c.weight.value for c in split.clusters})
    return found


def chat(*weights: int) -> Model:
    return model("chat", tuple(version(str(number), weight) for number, weight in enumerate(weights, 1)))


def test_without_live_weights_the_layer_is_that_of_the_snapshot() -> None:
    of = fleet(chat(90, 10))
    for name in group_names(of):
        assert layer(of, name, NOTHING_LIVE) == snapshot(of, Group(name))[ResourceType.RUNTIME]


def test_every_version_of_the_model_has_its_key() -> None:
    assert values(fleet(chat(90, 10, 0), model("embed")), live(chat={"1": 75, "3": 25})) == {
        "split.model-chat.chat_1": 7500,
        "split.model-chat.chat_2": 0,
        "split.model-chat.chat_3": 2500,
    }


def test_a_rule_that_shares_requests_out_to_the_model_is_percent_of_percent() -> None:
    of = fleet(chat(90, 10), model("embed"), orchestrator=orchestrator("auto", ("chat", 40), ("embed", 60)))
    state = live(chat={"1": 75, "2": 25})
    assert splits(of)["orchestrator/auto"].read(values(of, state)) == {"chat_1": 3000, "chat_2": 1000, "embed_1": 6000}


def test_a_policy_that_agrees_keeps_the_keys() -> None:
    of, state = fleet(chat(75, 25)), live(chat={"1": 75, "2": 25})
    agreed = follow_policy(state, of, NOW).state
    assert agreed.in_force == {}
    assert values(of, agreed) == values(of, state) != {}


@pytest.mark.parametrize(
    "of",
    [
        fleet(model("chat")),
        fleet(model("chat", (version("1", 90, ()), version("2", 10, ())))),
        fleet(chat(90, 10), gateways=(gateway(("chat",), hosts=(Host("*", Carrier.ISTIO),)),)),
        fleet(chat(90, 10), model("embed"), gateways=(gateway(("embed",)),)),
    ],
    ids=["one version", "no instance is listed", "Istio's host", "another gateway's model"],
)
def test_what_no_route_reads_gets_no_key(of: Fleet) -> None:
    assert values(of, live(chat={"1": 50, "2": 50})) == {}


def with_hops(*weights: int, equivalent: tuple[str, ...] = ("embed",)) -> Fleet:
    """`chat` stands in for `embed`, and each version of `embed` is an aggregate that `chat`'s weights name."""
    chain = Fallback((Hop("chat", equivalent, ORIGIN),), OnExplicitModel.ON_UNAVAILABLE)
    embed = model("embed", (version("1", 80), version("2", 20)))
    return fleet(chat(*weights), embed, orchestrator=replace(orchestrator("auto"), fallback=chain))


def test_keys_name_the_clusters_of_the_table_though_live_weights_would_order_hops_otherwise() -> None:
    of = with_hops(90, 10)
    state = live(chat={"1": 10, "2": 90}, embed={"1": 0, "2": 100})
    assert splits(of)["model/embed"].read(values(of, state)) == {
        "embed_1+chat_1+chat_2": 0,
        "embed_2+chat_1+chat_2": 10000,
    }


def mirrored(mirror: Mirror) -> Fleet:
    return fleet(chat(90, 10, 0), replace(model("embed"), mirror=mirror))


def fractions(of: Fleet, layer: Values) -> Mapping[str, int]:
    """In 1/10,000, of the mirrors of `embed`, as Envoy reads them."""
    found = {}
    for name, action in actions(of):
        for policy in action.request_mirror_policies:
            assert name == "model/embed"
            fraction = policy.runtime_fraction
            told = layer.get(fraction.runtime_key, json_format.MessageToDict(fraction.default_value))
            assert told["denominator"] == "TEN_THOUSAND"
            found[policy.cluster] = int(told["numerator"])
    return found


def test_mirrors_follow_the_live_weights_of_versions_that_have_one_in_the_table() -> None:
    of = mirrored(Mirror("chat", None, 50))
    layer = values(of, live(chat={"1": 20, "3": 80}))
    assert fractions(of, layer) == {"chat_1": 1000, "chat_2": 0}
    assert {key for key in layer if key.startswith("mirror.")} == {
        "mirror.model-embed.chat_1",
        "mirror.model-embed.chat_2",
    }


def test_a_mirror_to_a_version_by_name_stays_as_it_is() -> None:
    of = mirrored(Mirror("chat", "1", 50))
    layer = values(of, live(chat={"2": 100}))
    assert fractions(of, layer) == {"chat_1": 5000}
    assert not [key for key in layer if key.startswith("mirror.")]


def test_a_drained_version_gets_nothing_while_its_removal_is_under_way() -> None:
    """The layer comes first: for a moment an Envoy has the new keys and the old routes."""
    old, new = fleet(chat(90, 10, 0)), fleet(model("chat", (version("3", 100),)))
    state = live(chat={"1": 0, "2": 0, "3": 100})
    after = follow_policy(state, new, NOW).state
    layer = values(new, after, before=(Before(old, state, LATER),))
    assert splits(old)["model/chat"].read(layer) == {"chat_1": 0, "chat_2": 0, "chat_3": 10000}
    assert values(new, after) == {}


def test_a_drained_version_gets_nothing_while_a_second_edit_is_under_way_too() -> None:
    old, new = fleet(chat(90, 10, 0)), fleet(model("chat", (version("3", 100),)))
    state = live(chat={"1": 0, "2": 0, "3": 100})
    after = follow_policy(state, new, NOW).state
    newer = fleet(model("chat", (version("3", 100),)), model("other"))
    layer = values(newer, after, before=(Before(old, state, LATER), Before(new, after, LATER)))
    assert splits(old)["model/chat"].read(layer) == {"chat_1": 0, "chat_2": 0, "chat_3": 10000}


def test_a_drained_version_gets_nothing_while_another_model_comes_to_stand_in() -> None:
    """Which gives every share another cluster."""
    old, new = with_hops(90, 10, equivalent=()), with_hops(90, 10)
    state = live(embed={"1": 0, "2": 100})
    layer = values(new, state, before=(Before(old, state, LATER),))
    assert splits(old)["model/embed"].read(layer) == {"embed_1": 0, "embed_2": 10000}
    assert splits(new)["model/embed"].read(layer) == {"embed_1+chat_1+chat_2": 0, "embed_2+chat_1+chat_2": 10000}


def test_a_rule_that_is_turned_over_to_an_overridden_model_sums_to_0_at_no_time() -> None:
    """With keys for what gets nothing, Envoys that still have the routes of before would answer 404 on all requests."""
    chooser = orchestrator("auto")
    old = fleet(chat(90, 10), model("embed"), orchestrator=replace(chooser, default=targets(chat=100, embed=0)))
    new = fleet(chat(90, 10), model("embed"), orchestrator=replace(chooser, default=targets(chat=0, embed=100)))
    state = live(chat={"2": 100})
    layer = values(new, state, before=(Before(old, state, LATER),))
    assert splits(new)["orchestrator/auto"].read(layer) == {"chat_1": 0, "chat_2": 0, "embed_1": 10000}
    assert sum(splits(old)["orchestrator/auto"].read(layer).values()) == 10000


def targets(**weights: int) -> tuple[Target, ...]:
    return tuple(Target(name, weight) for name, weight in weights.items())


def test_keys_that_policy_had_agreed_with_go_before_routes_that_say_something_else() -> None:
    old, new = fleet(chat(75, 25)), fleet(chat(60, 40))
    agreed = follow_policy(live(chat={"1": 75, "2": 25}), old, NOW).state
    after = follow_policy(agreed, new, NOW).state
    layer = values(new, after, before=(Before(old, agreed, LATER),))
    assert splits(old)["model/chat"].read(layer) == {"chat_1": 7500, "chat_2": 2500}
    assert splits(new)["model/chat"].read(layer) == {"chat_1": 6000, "chat_2": 4000}


def test_evaluate_sends_live_shares_to_the_clusters_of_the_table() -> None:
    of = with_hops(90, 10)
    state = live(chat={"1": 10, "2": 90}, embed={"1": 30, "2": 70})
    decision = evaluate(apply_live(of, state), Request(model="embed"), committed=of)
    told = {Share(t.model, t.version, t.share, t.hops).cluster: t.share for t in decision.targets}
    assert told == splits(of)["model/embed"].read(values(of, state))
    assert told == {"embed_1+chat_1+chat_2": 3000, "embed_2+chat_1+chat_2": 7000}


def test_evaluate_mirrors_to_those_whom_the_table_has() -> None:
    of, state = mirrored(Mirror("chat", None, 50)), live(chat={"1": 20, "3": 80})
    decision = evaluate(apply_live(of, state), Request(model="embed"), committed=of)
    assert {(mirror.version.name, mirror.weight) for mirror in decision.mirrors} == {("1", 1000)}


SEEDS = range(60)


def by_chance(seed: int) -> tuple[Fleet, LiveState, random.Random]:
    chance = Chance(seed)
    of = chance.fleet(9001, 9002)
    overridden = chance.random.sample(of.models, chance.random.randint(1, len(of.models)))
    return of, LiveState({m.name: some_override(m, chance.random) for m in overridden}), chance.random


def some_override(of: Model, chance: random.Random) -> Override:
    names = [v.name for v in of.versions]
    chosen = chance.choice(names)
    share = chance.choice((100, 100, 70))
    weights = dict.fromkeys(names, 0) | {chosen: share}
    weights[chance.choice(names)] += 100 - share
    return Override(weights, NOW, NOW + timedelta(hours=1), "why")


@pytest.mark.parametrize("seed", SEEDS)
def test_every_split_that_an_envoy_sees_is_that_of_the_live_fleet_and_never_sums_to_0(seed: int) -> None:
    of, state, _ = by_chance(seed)
    for group in group_names(of):
        layer = values(of, state, group)
        wanted = {route.name: route for route in live_routes(apply_live(of, state), group)}
        for name, split in splits(of, group).items():
            seen = list(split.read(layer).values())
            assert seen == [share.weight for share in wanted[name].shares]
            assert sum(seen) == WHOLE


def live_routes(of: Fleet, group: str) -> tuple[Route, ...]:
    at = group_gateway(of, group)
    assert at is not None
    return routes(of, at)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_split_sums_to_0_while_an_edit_is_under_way(seed: int) -> None:
    """Any edit: another fleet of the same names. Its layer is there before its routes."""
    old, state, chance = by_chance(seed)
    new = edited(old, by_chance(seed + 1000)[0], chance)
    after = follow_policy(state, new, NOW).state
    for group in group_names(old):
        layer = values(new, after, group, (Before(old, state, LATER),))
        for split in (*splits(old, group).values(), *splits(new, group).values()):
            assert sum(split.read(layer).values()) > 0
        for split in splits(new, group).values():
            assert sum(split.read(layer).values()) == WHOLE


def edited(old: Fleet, other: Fleet, chance: random.Random) -> Fleet:
    """With some of the models of `other` and, where all that it names is there, its rules and chain."""
    there = {m.name: m for m in old.models}
    new = {m.name: chance.choice((m, there.get(m.name, m))) for m in other.models}
    return fleet(*new.values(), gateways=(moved(other.gateways[0], tuple(new)),))


def moved(at: Gateway, models: tuple[str, ...]) -> Gateway:
    return replace(at, models=tuple(sorted(models)))
