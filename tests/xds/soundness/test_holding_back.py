"""What is not sound is held back, alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.fleet import Fallback, Fleet, Hop, OnExplicitModel
from compiler.kept import Kept
from compiler.pipeline import compile_policies
from tests.xds.soundness.spoiling import changed, message, routed, routes, without
from tests.xds.translate.fleets import ORIGIN, endpoint, fleet, model, orchestrator, version
from xds.blame import held_back
from xds.holding_back import sound, sound_layer
from xds.snapshot import Resource, ResourceType, Snapshot
from xds.soundness import problems as looked_at
from xds.soundness.problems import Examiner
from xds.translate import Group, group_names, snapshot

ROOT = Path(__file__).parents[3]
RUNTIME, CLUSTER, ENDPOINT, LISTENER, ROUTE = ResourceType


def made(of: Fleet, group: str = "default") -> Snapshot:
    return snapshot(of, Group(group))


def two(**changes: Any) -> Snapshot:
    """Of `chat` with two versions, and of `embed`."""
    versions = (version("1.0", 90, (endpoint(9001),)), version("1.1", 10, (endpoint(9002),)))
    return made(fleet(model("chat", versions, aliases=("c",), **changes), model("embed")))


def examined(of: Snapshot, before: Snapshot | None = None) -> Snapshot:
    return sound(of, before, Examiner())


def told(of: Snapshot) -> list[tuple[str, str, bool]]:
    return [(held.type.label, held.name, held.kept) for held in of.held]


def too_many(cluster: Any) -> None:
    cluster.outlier_detection.max_ejection_percent.value = 101


def nothing(found: Any) -> None:
    for route in found.routes:
        for share in route.route.weighted_clusters.clusters:
            share.weight.value = 0


@pytest.mark.parametrize("folder", ["policies", *(f"tests/golden/{of}/policies" for of in ("live", "sample-fleet"))])
def test_what_policy_makes_is_sound(folder: str) -> None:
    found = compile_policies(ROOT / folder).fleet
    assert found is not None
    for name in group_names(found):
        fine = made(found, name)
        assert examined(fine) is fine


def test_a_cluster_that_is_not_sound_stays_as_it_was_and_all_else_goes_on() -> None:
    before = two()
    now = two(outlier_detection=replace(model("x").outlier_detection, max_ejection_percent=50))
    found = examined(changed(now, CLUSTER, "chat_1-0", too_many), before)
    assert found[CLUSTER]["chat_1-0"] is before[CLUSTER]["chat_1-0"]
    assert found[CLUSTER]["chat_1-1"] is now[CLUSTER]["chat_1-1"]
    for type_ in (ENDPOINT, LISTENER, ROUTE):
        assert found[type_] is now[type_]
    (held,) = found.held
    assert held_back(held, "0c5d91ab44e0").message == (
        "held back: cluster 'chat_1-0' breaks outlier_detection.max_ejection_percent: at most 100, not 101"
        " · commit 0c5d91ab44e0"
    )
    assert held.origin == now[CLUSTER]["chat_1-0"].origin


def test_a_first_start_serves_all_but_what_is_not_sound_and_what_leads_to_it() -> None:
    found = examined(changed(two(), CLUSTER, "chat_1-0", too_many))
    assert {*found[CLUSTER]} == {"chat_1-1", "embed_1"}
    assert told(found) == [("cluster", "chat_1-0", False), ("route", "model/chat", False)]
    for name in ("chat", "c"):
        assert {route.direct_response.status for route in routes(found, name)} == {503}
    assert routes(found, "embed")[0].route.cluster == "embed_1"
    assert examined(found) is found


def test_a_new_version_that_is_not_sound_leaves_the_routes_as_they_were() -> None:
    before = made(fleet(model("chat", (version("1.0"),), aliases=("c",)), model("embed")))
    found = examined(changed(two(), CLUSTER, "chat_1-1", too_many), before)
    assert "chat_1-1" not in found[CLUSTER]
    assert routes(found, "chat")[0].route.cluster == "chat_1-0"
    assert told(found) == [("cluster", "chat_1-1", False), ("route", "model/chat", True)]


def test_routes_that_stay_bring_along_the_clusters_that_policy_has_no_more() -> None:
    before = two()
    now = made(fleet(model("chat", (version("2.0", 50), version("2.1", 50))), model("embed")))
    found = examined(routed(now, "chat", nothing), before)
    weights = routes(found, "chat")[0].route.weighted_clusters.clusters
    assert {share.name for share in weights} == {"chat_1-0", "chat_1-1"}
    assert {"chat_1-0", "chat_1-1"} <= {*found[CLUSTER]}
    assert {"chat_1-0", "chat_1-1"} <= {*found[ENDPOINT]}
    assert examined(found) is found
    after = examined(now, found)
    assert after is now


def test_of_a_table_one_models_routes_are_held_back_and_anothers_are_new() -> None:
    before = two()
    now = made(fleet(model("chat", (version("1.0", 50), version("1.1", 50))), model("embed", (version("2"),))))
    found = examined(routed(now, "chat", nothing), before)
    assert routes(found, "embed")[0].route.cluster == "embed_2"
    assert routes(found, "chat") == routes(before, "chat")
    (held,) = found.held
    assert (held.name, held.kept) == ("model/chat", True)
    assert held.constraint == "route.weighted_clusters: weights sum to more than 0, not 0"


def test_routes_whose_match_nobody_knows_are_left_out_and_where_none_is_left_the_name_is_answered_503() -> None:
    def regex(found: Any) -> None:
        found.routes[0].match.headers.add(name="x", string_match={"safe_regex": {"regex": "("}})

    found = examined(routed(two(), "chat", regex))
    (route,) = routes(found, "chat")
    assert route.name == "model/chat"
    assert route.route.weighted_clusters.clusters[0].name == "chat_1-0"

    def both(found: Any) -> None:
        for route in found.routes:
            route.match.headers.add(name="x", string_match={"safe_regex": {"regex": "("}})

    gone = examined(routed(two(), "chat", both))
    (answer,) = routes(gone, "chat")
    assert (answer.match.prefix, answer.direct_response.status) == ("/", 503)
    assert {*told(gone)} == {("route", "model/chat", False)}


def test_a_cluster_without_its_load_assignment_has_no_instances() -> None:
    found = examined(without(two(), ENDPOINT, "chat_1-0"))
    assert "chat_1-0" in found[CLUSTER]
    assert not message(found, ENDPOINT, "chat_1-0").endpoints
    assert told(found) == [("endpoint", "chat_1-0", False)]


def test_an_aggregate_of_a_cluster_that_is_not_there_stays_as_it_was() -> None:
    chain = Fallback((Hop("embed", ("chat",), ORIGIN),), OnExplicitModel.ON_UNAVAILABLE)
    chosen = replace(orchestrator("auto", ("chat", 100)), fallback=chain)
    of = fleet(model("chat"), model("embed"), orchestrator=chosen)
    before = made(of)
    (name,) = (name for name in before[CLUSTER] if "+" in name)
    found = examined(without(before, CLUSTER, "embed_1"), before)
    assert {name, "embed_1"} <= {*found[CLUSTER]}
    assert all(held.constraint.endswith("cluster 'embed_1', which is not there") for held in found.held)
    assert found[CLUSTER] == before[CLUSTER]


def test_a_listener_without_its_table_is_left_out() -> None:
    found = examined(without(two(), ROUTE, "default"))
    assert not found[LISTENER]
    assert {*found[CLUSTER]} == {"chat_1-0", "chat_1-1", "embed_1"}


def test_a_layer_that_is_not_sound_is_never_absent() -> None:
    def nameless(found: Any) -> None:
        found.name = "another"

    found = examined(changed(two(), RUNTIME, "turnout", nameless))
    assert message(found, RUNTIME, "turnout").name == "turnout"


def test_a_live_weight_of_0_for_all_is_held_back_with_the_layer_before_or_without() -> None:
    of = two()
    weights = {"split.model-chat.chat_1-0": 0, "split.model-chat.chat_1-1": 0, "tracing": 1}
    zero = changed(of, RUNTIME, "turnout", lambda found: found.layer.update(weights))[RUNTIME]
    half = changed(of, RUNTIME, "turnout", lambda found: found.layer.update({"split.model-chat.chat_1-0": 0}))
    assert not sound_layer(half[RUNTIME], of, None).held
    kept = sound_layer(zero, of, half)
    assert kept[RUNTIME] == half[RUNTIME]
    alone = sound_layer(zero, of, None)
    assert dict(message(alone, RUNTIME, "turnout").layer)["tracing"] == 1
    assert "split.model-chat.chat_1-0" not in message(alone, RUNTIME, "turnout").layer.fields
    for found in (kept, alone):
        (held,) = found.held
        assert (held.code, held.name) == ("X103", "model/chat")
        assert held_back(held, "").message == "runtime weights of model/chat sum to 0"
    assert not sound_layer(half[RUNTIME], alone, alone).held


def test_weights_are_what_their_total_says() -> None:
    def total(found: Any) -> None:
        found.routes[0].route.weighted_clusters.total_weight.value = 99

    (held,) = examined(routed(two(), "chat", total), two()).held
    assert held.constraint == "route.weighted_clusters.total_weight: the sum of all weights, 10,000, not 99"


def test_a_live_layer_that_is_not_sound_by_itself_is_held_back() -> None:
    of = two()
    nameless = changed(of, RUNTIME, "turnout", lambda found: found.ClearField("name"))[RUNTIME]
    found = sound_layer(nameless, of, None)
    assert found[RUNTIME] == of[RUNTIME]
    assert {*told(found)} == {("runtime", "turnout", True)}
    assert not sound_layer(of[RUNTIME], found, found).held


def test_what_an_edit_leaves_alone_is_not_examined_again(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []

    def counted(found: Resource, type_: ResourceType) -> Any:
        seen.append(found.name)
        return looked_at.CONSTRAINTS.content(type_, found.body)

    monkeypatch.setattr(looked_at, "examined", counted)
    models = [model(f"m{n}") for n in range(40)]
    kept = Kept()
    sound(snapshot(fleet(*models), Group("default"), kept), None, Examiner(kept))
    kept.closed()
    assert len(seen) == 2 + 2 * len(models)
    seen.clear()
    models[7] = model("m7", (version(endpoints=(endpoint(9007),)),))
    again = Kept(kept)
    sound(snapshot(fleet(*models), Group("default"), again), None, Examiner(again))
    assert seen == ["turnout", "m7_1"]
