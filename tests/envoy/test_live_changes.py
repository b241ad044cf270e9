"""What clients see of a fleet while its policies are edited and its instances die: real Envoys, real requests."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.policies import save
from demo.processes import poll
from demo.traffic import Load, Tally, chat, send
from tests.envoy.live import Live, live, within_four_sigma

VARIANTS = ("delta", "sotw")


def assert_split(tally: Tally, percent_of_new: int) -> None:
    assert not tally.failures, tally.failures
    new = tally.by("version")["1.1",]
    assert within_four_sigma(new, len(tally.answers), percent_of_new), f"{new} of {len(tally.answers)}"


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_split_and_an_edit_of_it_are_what_requests_see(variant: str, tmp_path: Path) -> None:
    with live(tmp_path, variant) as fleet:
        assert_split(send(fleet.envoy.url, 2000, chat("split")), 10)
        fleet.policies.set_weights("split", {"1.0": 75, "1.1": 25})
        fleet.wait_for_weights(**{"split_1-0": 7500, "split_1-1": 2500})
        assert_split(send(fleet.envoy.url, 2000, chat("split")), 25)


@pytest.mark.parametrize("variant", VARIANTS)
def test_fifty_edits_under_load_lose_no_request(variant: str, tmp_path: Path) -> None:
    with live(tmp_path, variant, "--answer-time", "5ms") as fleet:
        requests = (chat("split"), chat("tiers"), chat("auto"), chat(None), chat("tiers", stream=True))
        with Load(fleet.envoy.url, 20, *requests) as load:
            for number in range(50):
                before = fleet.status()["policy"]["digest"]
                edit(fleet, number)
                fleet.wait_for_edit(before)
                load.wait_for(20)
            assert fleet.weights().items() >= {"split_1-0": 5000, "split_1-1": 5000}.items()
            load.wait_for(200)
        tally = load.tally()
        assert not tally.failures, tally.failures
        assert {("split",), ("tiers",)} == set(tally.by("model"))


Edit = Callable[[dict[str, Any], int], None]
"""Of the policies by name; it is told how often it has been before."""


def edit(fleet: Live, number: int, kinds: Sequence[Edit] | None = None) -> None:
    """The `number`-th edit, rounds of `EDITS` or of other `kinds`; each leaves policies that serve every model."""
    kinds = kinds or EDITS
    file = fleet.policies.folder / "fleet.yaml"
    documents = list(yaml.safe_load_all(file.read_text()))
    by_name = {document["metadata"]["name"]: document for document in documents}
    kinds[number % len(kinds)](by_name, number // len(kinds))
    save(file, yaml.safe_dump_all(by_name.values()))


def move_weight(documents: dict[str, Any], turn: int) -> None:
    versions = documents["split"]["spec"]["versions"]
    versions[0]["weight"], versions[1]["weight"] = 95 - 5 * turn, 5 + 5 * turn


def add_or_remove_a_model(documents: dict[str, Any], turn: int) -> None:
    """A cluster and a route come and go."""
    model = {"metadata": {"name": "extra"}, "spec": {"modelName": f"example/extra-{turn}"}}
    if documents.pop("extra", None) is None:
        documents["extra"] = {"apiVersion": "turnout.dev/v1", "kind": "InferenceModel", **model}


def change_balancing(documents: dict[str, Any], turn: int) -> None:
    """The clusters themselves change, so Envoy warms new ones while the old ones serve."""
    strategy = ("round_robin", "least_connections")[turn % 2]
    traffic(documents)["loadBalancing"] = {"strategy": strategy}


def take_or_return_an_instance(documents: dict[str, Any], turn: int) -> None:
    """One active instance of `tiers` leaves the load assignment, and comes back the next time."""
    spec = documents["tiers"]["spec"]
    away = documents["tiers"]["metadata"].setdefault("annotations", {})
    if turn % 2 == 0:
        away["away"] = json.dumps(spec["endpoints"].pop(0))
    else:
        spec["endpoints"].insert(0, json.loads(away.pop("away")))


def change_a_timeout(documents: dict[str, Any], turn: int) -> None:
    """The route table alone changes."""
    traffic(documents)["timeouts"] = {"unary": {"total": f"{60 + turn}s"}}


def traffic(documents: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = documents["platform"]["spec"]["defaults"]["traffic"]
    return found


EDITS: tuple[Edit, ...] = (
    move_weight,
    add_or_remove_a_model,
    change_balancing,
    take_or_return_an_instance,
    change_a_timeout,
)


@pytest.mark.parametrize("answer_time", ["5ms", "0.5s"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_tier_that_dies_under_load_loses_no_request(variant: str, answer_time: str, tmp_path: Path) -> None:
    with live(tmp_path, variant, "--answer-time", answer_time) as fleet:
        with Load(fleet.envoy.url, 40, chat("tiers")) as load:
            load.wait_for(80)
            assert set(load.tally().by("tier")) == {("active",)}
            for instance in fleet.instances("tiers", "active"):
                fleet.servers[instance].kill()
            load.wait_for_answer(lambda answer: answer.tier == "hot", "by the hot tier")
            load.wait_for(200)
        tally = load.tally()
        assert not tally.lost, tally.failures
        assert tally.by("tier")["hot",] >= 200 - 40


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_fallback_chain_comes_and_goes_under_load_and_then_saves_every_request(variant: str, tmp_path: Path) -> None:
    with live(tmp_path, variant, "--answer-time", "5ms") as fleet:
        with Load(fleet.envoy.url, 20, chat("split"), chat("auto"), chat("split", stream=True)) as load:
            for number in range(20):
                before = fleet.status()["policy"]["digest"]
                edit(fleet, number, FALLBACK_EDITS)
                fleet.wait_for_edit(before)
                load.wait_for(20)
        assert not load.tally().failures, load.tally().failures
        with Load(fleet.envoy.url, 20, chat("split"), chat("auto")) as load:
            load.wait_for(40)
            assert set(load.tally().by("model")) == {("split",)}
            for instance in fleet.instances("split"):
                fleet.servers[instance].kill()
            load.wait_for_answer(lambda answer: answer.told_model == "tiers", "by the model that stands in")
            load.wait_for(200)
        tally = load.tally()
        assert not tally.lost, tally.failures
        assert tally.by("told_model")["tiers",] >= 200 - 20


def change_the_chain(documents: dict[str, Any], turn: int) -> None:
    """Aggregates come and go, and routes lead to them or past them; in the end `tiers` stands in for `split`."""
    routing = documents["auto"]["spec"]["routing"] = {"defaultModel": "split"}
    if turn % 2:
        chain = [{"model": "tiers", "equivalentTo": ["split"]}]
        routing["fallback"] = {"onExplicitModel": ("onUnavailable", "always")[turn % 4 // 2], "chain": chain}


def change_the_mirror(documents: dict[str, Any], turn: int) -> None:
    documents["split"]["spec"]["traffic"] = {} if turn % 2 else {"mirror": {"model": "tiers", "percent": 50}}


FALLBACK_EDITS = (change_the_mirror, change_the_chain)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_version_whose_endpoints_go_after_its_weight_loses_no_request(variant: str, tmp_path: Path) -> None:
    """The order that `turnout diff` tells. Endpoints may come with the weight: an Envoy gets them before the routes."""
    with live(tmp_path, variant, "--answer-time", "5ms") as fleet:
        with Load(fleet.envoy.url, 20, chat("split")) as load:
            for number in range(6):
                before = fleet.status()["policy"]["digest"]
                edit(fleet, number, (take_the_weight, take_the_endpoints, give_both_back))
                fleet.wait_for_edit(before)
                load.wait_for(100)
        assert not load.tally().failures, load.tally().failures


def take_the_weight(documents: dict[str, Any], _: int) -> None:
    one, other = documents["split"]["spec"]["versions"]
    one["weight"], other["weight"] = 0, 100


def take_the_endpoints(documents: dict[str, Any], _: int) -> None:
    one = documents["split"]["spec"]["versions"][0]
    documents["split"]["metadata"]["annotations"] = {"away": json.dumps(one.pop("endpoints"))}


def give_both_back(documents: dict[str, Any], _: int) -> None:
    one, other = documents["split"]["spec"]["versions"]
    one["endpoints"] = json.loads(documents["split"]["metadata"].pop("annotations")["away"])
    one["weight"], other["weight"] = 90, 10


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_broken_edit_changes_nothing_and_the_next_good_one_lands(variant: str, tmp_path: Path) -> None:
    with live(tmp_path, variant) as fleet:
        file = fleet.policies.folder / "fleet.yaml"
        good = file.read_text()
        with Load(fleet.envoy.url, 10, chat("split"), chat("tiers")) as load:
            file.write_text(good.replace("weight: 90", "weight: 95"))
            wait_for_policy(fleet, "broken")
            load.wait_for(100)
            assert fleet.weights()["split_1-0"] == 9000
            file.write_text(good.replace("weight: 90", "weight: 60").replace("weight: 10", "weight: 40"))
            fleet.wait_for_weights(**{"split_1-0": 6000, "split_1-1": 4000})
            wait_for_policy(fleet, "ok")
            load.wait_for(100)
        assert not load.tally().failures, load.tally().failures


def wait_for_policy(fleet: Live, state: str) -> None:
    there = poll(lambda: bool(fleet.status()["policy"]["state"] == state), 20)
    assert there, fleet.control.process.last_words()
