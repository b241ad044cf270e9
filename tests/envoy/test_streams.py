"""Streams of a real Envoy: what happens to one while policies are edited, and when its client leaves."""

from __future__ import annotations

import http.client
import json
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from demo.policies import save
from demo.processes import poll
from demo.stack import Envoy, fetch
from demo.traffic import Load, chat
from tests.envoy.live import Live, live

EDITS_AT_LEAST = 50
SLOW = ("--first-token", "5s", "--token-interval", "0.55s", "--tokens", "100")
"""An answer that streams for a minute: silence, then a token and again a token, and why it ends."""
MINUTE = 60


def test_a_stream_of_a_minute_survives_fifty_edits(tmp_path: Path) -> None:
    """Both variants of the protocol at once, for the sake of the minute."""
    with live(tmp_path, "delta", *SLOW) as fleet:
        sotw = fleet.stack.start_envoy(fleet.control, "--variant", "sotw", node="sotw")
        fleet.stack.wait_for_healthy(sotw, fleet.servers)
        requests = (chat("split", stream=True), chat("tiers", stream=True))
        with (
            Load(fleet.envoy.url, 4, *requests, limit=4, timeout=2 * MINUTE) as delta_load,
            Load(sotw.url, 4, *requests, limit=4, timeout=2 * MINUTE) as sotw_load,
        ):
            loads = (delta_load, sotw_load)
            accepted = 0
            while not poll(lambda: any(load.count for load in loads), 0.4):
                before = fleet.status()["policy"]["digest"]
                edit(fleet, accepted)
                fleet.wait_for_edit(before)
                accepted += 1
        assert accepted >= EDITS_AT_LEAST
        for envoy, load in ((fleet.envoy, delta_load), (sotw, sotw_load)):
            tally = load.tally()
            assert not tally.failures, tally.failures
            assert min(answer.ended - answer.sent for answer in tally.answers) >= MINUTE
            assert tally.by("model") == {("split",): 2, ("tiers",): 2}
            taken = pushes(envoy)
            # A listener that changes drains its connections, and cuts what is still under way at the end of that.
            assert taken.pop("listener_manager.lds.update_success") == 1
            assert min(taken.values()) >= accepted // len(EDITS), taken


def pushes(envoy: Envoy) -> dict[str, int]:
    """How often Envoy took each type of resource."""
    wanted = "^(cluster_manager.cds|listener_manager.lds|cluster.tiers_1|http.*rds.default).update_success$"
    stats = json.loads(fetch(f"{envoy.admin}/stats?format=json&filter={wanted}"))["stats"]
    assert len(stats) == 4, stats
    return {stat["name"]: stat["value"] for stat in stats}


def edit(fleet: Live, number: int) -> None:
    file = fleet.policies.folder / "fleet.yaml"
    documents = list(yaml.safe_load_all(file.read_text()))
    by_name = {document["metadata"]["name"]: document for document in documents}
    EDITS[number % len(EDITS)](by_name, number)
    save(file, yaml.safe_dump_all(by_name.values()))


def move_weight(documents: dict[str, Any], number: int) -> None:
    """Routes."""
    versions = documents["split"]["spec"]["versions"]
    versions[0]["weight"], versions[1]["weight"] = 99 - number % 99, 1 + number % 99


def change_how_long_a_connection_may_take(documents: dict[str, Any], number: int) -> None:
    """Clusters, and the load assignments that warm them."""
    traffic(documents)["connectionPool"] = {"connectTimeout": f"{1000 + number}ms"}


def change_who_is_ejected(documents: dict[str, Any], number: int) -> None:
    """Clusters."""
    traffic(documents)["outlierDetection"]["baseEjectionTime"] = f"{5000 + number}ms"


def take_or_return_an_instance(documents: dict[str, Any], _: int) -> None:
    """Load assignments: an instance leaves that may be at work on a stream, and comes back the next time."""
    spec = documents["tiers"]["spec"]
    away = documents["tiers"]["metadata"].setdefault("annotations", {})
    if "away" in away:
        spec["endpoints"].append(json.loads(away.pop("away")))
    else:
        away["away"] = json.dumps(spec["endpoints"].pop(0))


def change_the_times_of_streams(documents: dict[str, Any], number: int) -> None:
    """Routes: the limits of the very streams that are under way."""
    traffic(documents)["timeouts"] = {"stream": {"idle": f"{120 + number}s", "total": f"{600 + number}s"}}


def ask_for_another_metadata_key(documents: dict[str, Any], number: int) -> None:
    """Routes, and what the script is told there: it learns to look for the key."""
    condition = {"field": f"metadata.key-{number}", "operator": "eq", "value": "x"}
    rule = {"name": "by-metadata", "conditions": [condition], "target": "tiers"}
    documents["auto"]["spec"]["routing"]["rules"] = [rule]


def traffic(documents: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = documents["platform"]["spec"]["defaults"]["traffic"]
    return found


EDITS: tuple[Callable[[dict[str, Any], int], None], ...] = (
    move_weight,
    change_how_long_a_connection_may_take,
    change_who_is_ejected,
    take_or_return_an_instance,
    change_the_times_of_streams,
    ask_for_another_metadata_key,
)


@pytest.fixture(scope="module")
def patient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """Model servers that come to no end by themselves."""
    manners = ("--token-interval", "50ms", "--tokens", "100000", "--answer-time", "600s")
    with live(tmp_path_factory.mktemp("streams"), "delta", *manners) as fleet:
        yield fleet


def urls(fleet: Live) -> list[str]:
    return [f"http://{instance.address}:{instance.port}/control" for instance in fleet.servers]


def work(fleet: Live, of: str) -> int:
    """`answering` or `abandoned`, of all instances together."""
    return sum(json.loads(fetch(url))[of] for url in urls(fleet))


@pytest.mark.parametrize(
    ("stream", "first_token"),
    [(True, "0s"), (True, "600s"), (False, "0s")],
    ids=["in a stream", "before the first token", "before the whole answer"],
)
def test_the_instance_stops_when_the_client_leaves(patient: Live, stream: bool, first_token: str) -> None:
    for url in urls(patient):
        tell(url, {"first_token": first_token})
    abandoned = work(patient, "abandoned")
    connection = http.client.HTTPConnection(patient.envoy.url.removeprefix("http://"), timeout=30)
    connection.request("POST", "/v1/chat/completions", chat("split", stream=stream).body)
    assert poll(lambda: work(patient, "answering") == 1, 20)
    if stream and first_token == "0s":
        response = connection.getresponse()
        assert [response.readline()[:5] for _ in range(20)] == [b"data:", b"\n"] * 10
        assert work(patient, "answering") == 1
        response.close()
    connection.close()
    assert poll(lambda: work(patient, "answering") == 0, 20), "it works on for nobody"
    assert work(patient, "abandoned") == abandoned + 1


def tell(url: str, manners: dict[str, str]) -> None:
    request = urllib.request.Request(url, json.dumps(manners).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=5) as response:
        assert response.status == 200
