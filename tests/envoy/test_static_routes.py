"""Where a real Envoy sends requests, and what it says when it cannot."""

from __future__ import annotations

import http.client
import math
import shutil
import ssl
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from compiler.envoy.request_pass import SCRIPT
from compiler.fleet import (
    Carrier,
    ConnectionPool,
    Fleet,
    HashAlgorithm,
    HashKey,
    HashSource,
    HealthCheck,
    Host,
    Listener,
    LoadBalancing,
    OutlierDetection,
    Protocol,
    Retries,
    SlowStart,
    Strategy,
    Tier,
    Timeouts,
)
from tests.envoy.envoy_process import envoy_process, free_port, wait_until
from tests.envoy.served import Served, served
from tests.envoy.static_files import bootstrap_from_files
from tests.envoy.upstream import Upstream, upstreams
from tests.xds.translate.fleets import endpoint, fleet, gateway, model, orchestrator, seconds, version
from xds.translate import Group, Placement, request_pass, snapshot
from xds.translate.listeners import _listeners

PROBE = HealthCheck("/health", seconds(0.1), seconds(1), failure_threshold=2, success_threshold=1)
NO_RETRIES = Retries(0, (), (), seconds(0.025))


def count(running: Served, requests: int, **body: object) -> Counter[str]:
    return Counter(running.ask({"model": "chat", **body}).upstream for _ in range(requests))


def test_models_are_listed_by_every_name_a_client_may_use(two_models: Served) -> None:
    answer = two_models.request("GET", "/v1/models")
    assert answer.status == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json["object"] == "list"
    assert [entry["id"] for entry in answer.json["data"]] == ["auto", "bert", "bert-1.5", "llama-70b"]
    assert answer.json["data"][0] == {"id": "auto", "object": "model", "created": 0, "owned_by": "turnout"}


def test_models_are_listed_whatever_model_a_header_names(two_models: Served) -> None:
    assert two_models.request("GET", "/v1/models?x=1", headers={"model-name": "bert"}).json["object"] == "list"
    assert two_models.request("POST", "/v1/models", b"{}").status == 404


def test_a_thousand_models_are_listed(tmp_path: Path) -> None:
    names = [f"model-{number:04}" for number in range(1000)]
    given = snapshot(fleet(*map(model, names)), Group("default", Placement(free_port(), "127.0.0.1")))
    # Each load assignment would be a file to watch, and a machine has a limit of those.
    bootstrap = bootstrap_from_files(given, tmp_path, clusters=False)
    with envoy_process(bootstrap, tmp_path) as envoy:
        running = Served(envoy, envoy.listener_ports()["default-8080"])
        assert [entry["id"] for entry in running.request("GET", "/v1/models").json["data"]] == names
        assert running.ask({"model": "model-0999"}).error["code"] == "no_healthy_instance"


def test_an_unknown_model_is_named_in_the_404(two_models: Served) -> None:
    answer = two_models.ask({"model": "gpt-9"})
    assert answer.status == 404
    assert answer.headers["content-type"] == "application/json"
    assert answer.error == {
        "message": "The model `gpt-9` does not exist",
        "type": "invalid_request_error",
        "param": "model",
        "code": "model_not_found",
    }


@pytest.mark.parametrize(("method", "path"), [("GET", "/"), ("GET", "/v1/chat/completions"), ("DELETE", "/v1/models")])
def test_a_request_that_names_no_model_takes_the_default_only_on_openai_paths(
    two_models: Served, method: str, path: str
) -> None:
    answer = two_models.request(method, path)
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")
    assert answer.error["message"] == "No model was named and none is the default here"


def test_the_answer_tells_which_model_and_version_gave_it(two_models: Served) -> None:
    answer = two_models.ask({"model": "bert"})
    assert (answer.headers["x-turnout-model"], answer.headers["x-turnout-version"]) == ("bert-1.5", "1")


def test_clients_do_not_see_envoy_and_cannot_steer_it(two_models: Served) -> None:
    answer = two_models.ask({"model": "bert"}, x_envoy_upstream_rq_timeout_ms="1", x_envoy_max_retries="9")
    assert answer.status == 200
    assert not [name for name in answer.headers if name.startswith("x-envoy-") or name == "server"]
    assert "x-envoy-max-retries" not in answer.json["headers"]


def test_a_request_keeps_the_id_its_client_gave_it(two_models: Served) -> None:
    assert two_models.ask({"model": "bert"}, x_request_id="mine").json["headers"]["x-request-id"] == "mine"


def test_without_a_default_an_unnamed_model_is_404_and_a_large_body_passes(tmp_path: Path) -> None:
    """The limit of a body is known before its model is."""
    with upstreams("a") as servers:
        chat = model("chat", (version(endpoints=(endpoint(servers["a"].port),), health_check=PROBE),))
        with served(fleet(chat), tmp_path) as running:
            running.wait_for_health("chat_1", [servers["a"].port])
            assert running.ask({}).error["message"] == "No model was named and none is the default here"
            assert running.ask({"model": "chat", "prompt": "x" * 3 * 2**20}).upstream == "a"


@pytest.fixture
def with_script(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Has listeners made with another script. They are kept by their port, which another test may have had."""

    def use(script: str) -> None:
        monkeypatch.setattr(request_pass, "SCRIPT", script)
        _listeners.cache_clear()

    yield use
    _listeners.cache_clear()


def test_a_fault_of_the_script_is_a_500_and_never_the_default_route(
    tmp_path: Path, with_script: Callable[[str], None]
) -> None:
    start = "local function header_value(name)\n"
    assert start in SCRIPT
    with_script(SCRIPT.replace(start, start + "  error('boom')\n"))
    with served(fleet(model("chat"), orchestrator=orchestrator("auto", ("chat", 100))), tmp_path) as running:
        answer = running.ask({})
        assert (answer.status, answer.error["code"]) == (500, "internal_error")
    with_script(SCRIPT.replace("local done, problem = pcall(read, handle)", "error('boom')"))
    with served(fleet(model("chat"), orchestrator=orchestrator("auto", ("chat", 100))), tmp_path) as running:
        assert running.ask({}).error["code"] == "model_not_found"
        assert running.envoy.stats("lua.errors")["http.default-8080.lua.errors"] == 1


def test_a_split_is_as_asked(tmp_path: Path) -> None:
    with upstreams("old", "new", "none") as servers:
        versions = tuple(
            version(name, weight, (endpoint(servers[name].port),), health_check=PROBE)
            for name, weight in (("old", 90), ("new", 10), ("none", 0))
        )
        with served(fleet(model("chat", versions)), tmp_path) as running:
            for name in servers:
                running.wait_for_health(f"chat_{name}", [servers[name].port])
            seen = count(running, 2000)
    assert seen["none"] == 0
    assert abs(seen["new"] - 200) <= 4 * math.sqrt(2000 * 0.1 * 0.9)
    assert seen["old"] + seen["new"] == 2000


@pytest.fixture
def tiers(tmp_path: Path) -> Iterator[tuple[Served, dict[str, Upstream]]]:
    """`chat` with an instance of each tier, and one active in the standby zone."""
    with upstreams("active", "standby-zone", "hot", "warm", "cold") as servers:
        placed = (
            endpoint(servers["cold"].port, Tier.COLD, "b"),
            endpoint(servers["active"].port, Tier.ACTIVE, "a"),
            endpoint(servers["standby-zone"].port, Tier.ACTIVE, "b"),
            endpoint(servers["warm"].port, Tier.WARM, "b"),
            endpoint(servers["hot"].port, Tier.HOT, "b"),
        )
        chat = model("chat", (version(endpoints=placed, health_check=PROBE),))
        chat = replace(chat, zones=replace(chat.zones, active=("a",), standby="b"))
        with served(fleet(chat), tmp_path) as running:
            running.wait_for_health("chat_1", [server.port for server in servers.values()])
            yield running, servers


def test_tiers_are_taken_in_order_as_their_instances_fail(tiers: tuple[Served, dict[str, Upstream]]) -> None:
    running, servers = tiers
    alive = dict(servers)
    for name in servers:
        assert count(running, 20) == {name: 20}
        alive.pop(name).health = 503
        running.wait_for_health("chat_1", [server.port for server in alive.values()])
    answer = running.ask({"model": "chat"})
    assert answer.status == 503
    assert answer.headers["retry-after"] == "1"
    assert "x-turnout-model" not in answer.headers, "it tells who answered, and nobody has"
    assert answer.error["code"] == "no_healthy_instance"


def test_an_instance_that_fails_is_tried_again_elsewhere(tiers: tuple[Served, dict[str, Upstream]]) -> None:
    running, servers = tiers
    servers["active"].reset = True
    assert set(count(running, 20)) == {"standby-zone"}
    servers["standby-zone"].status = 500
    assert set(count(running, 20)) <= {"hot"}


def test_one_bad_probe_is_not_enough_to_lose_an_instance(tmp_path: Path) -> None:
    slow = replace(PROBE, interval=seconds(0.5), failure_threshold=3)
    with upstreams("a") as servers:
        chat = model("chat", (version(endpoints=(endpoint(servers["a"].port),), health_check=slow),))
        with served(fleet(chat), tmp_path) as running:
            running.wait_for_health("chat_1", [servers["a"].port])
            servers["a"].health = 500
            probes = "cluster.chat_1.health_check.(failure|attempt)"
            wait_until(
                lambda: running.envoy.stats(probes)["cluster.chat_1.health_check.failure"] == 1, what="a failure"
            )
            assert running.envoy.host_health("chat_1") == {servers["a"].port: set()}
            running.wait_for_health("chat_1", [])
            assert running.envoy.stats(probes)["cluster.chat_1.health_check.failure"] >= 3


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[tuple[Served, Upstream]]:
    """`chat` with one instance, no second try, one request at a time, and time limits short enough to wait for."""
    with upstreams("a") as servers:
        only = version(
            endpoints=(endpoint(servers["a"].port),),
            connection_pool=ConnectionPool(1, 1, 1, 0, seconds(1)),
            health_check=PROBE,
        )
        timeouts = Timeouts(
            stream_first_byte=seconds(1), stream_idle=seconds(2), stream_total=seconds(60), unary_total=seconds(0.3)
        )
        chat = model("chat", (only,), retries=NO_RETRIES, timeouts=timeouts)
        with served(fleet(chat), tmp_path) as running:
            running.wait_for_health("chat_1", [servers["a"].port])
            yield running, servers["a"]


def test_a_stream_and_a_whole_answer_have_their_own_time_limits(lone: tuple[Served, Upstream]) -> None:
    running, server = lone
    server.first_byte_delay = 0.6
    assert running.ask({"model": "chat", "stream": True}).upstream == "a"
    answer = running.ask({"model": "chat"})
    assert (answer.status, answer.error["code"], answer.error["type"]) == (504, "timeout", "server_error")
    server.first_byte_delay = 1.5
    assert running.ask({"model": "chat", "stream": True}).error["code"] == "timeout"
    server.first_byte_delay = 0
    server.gaps = (0.2,) * 8
    assert running.ask({"model": "chat", "stream": True}).body.count(b"data: ") == 8


def test_an_instance_that_hangs_up_is_an_upstream_error(lone: tuple[Served, Upstream]) -> None:
    running, server = lone
    server.reset = True
    answer = running.ask({"model": "chat"})
    assert (answer.status, answer.error["code"]) == (503, "upstream_error")
    assert "retry-after" not in answer.headers


@pytest.mark.parametrize("status", [400, 404, 413, 429, 500, 503, 504])
def test_an_answer_of_the_engine_is_never_rewritten(lone: tuple[Served, Upstream], status: int) -> None:
    running, server = lone
    server.status = status
    answer = running.ask({"model": "chat"})
    assert (answer.status, answer.upstream) == (status, "a")


def test_requests_over_the_limits_are_told_to_come_back(lone: tuple[Served, Upstream]) -> None:
    running, server = lone
    server.first_byte_delay = 0.8
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: running.ask({"model": "chat", "stream": True}), range(8)))
    refused = [answer for answer in answers if answer.status == 503]
    assert refused
    assert {answer.error["code"] for answer in refused} == {"overloaded"}
    assert {answer.headers["retry-after"] for answer in refused} == {"1"}


def test_only_the_hosts_of_the_gateway_are_served(tmp_path: Path) -> None:
    hosts = (Host("api.example.com", Carrier.ENVOY), Host("*.llm.example.com", Carrier.ENVOY))
    with served(fleet(model("chat"), hosts=hosts), tmp_path) as running:
        for host in ("api.example.com", "api.example.com:8443", "a.llm.example.com"):
            assert running.request("GET", "/v1/models", headers={"host": host}).status == 200
        answer = running.request("GET", "/v1/models", headers={"host": "evil.example.com"})
        assert (answer.status, answer.error["code"]) == (404, "host_not_found")


def certificate(folder: Path) -> None:
    folder.mkdir(parents=True)
    files = ["-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt")]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *files, *subject]
    subprocess.run(command, check=True, capture_output=True)


def both_protocols() -> tuple[Listener, ...]:
    return Listener(8080, Protocol.HTTP, None), Listener(8443, Protocol.HTTPS, "chat-tls")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="Debian's openssl, which makes the certificate, is missing")
def test_an_https_listener_takes_its_certificate_from_the_folder_on_the_machine(tmp_path: Path) -> None:
    certificate(tmp_path / "secrets" / "chat-tls")
    secrets = str(tmp_path / "secrets")
    with served(fleet(model("chat"), listeners=both_protocols()), tmp_path, secrets=secrets) as running:
        port = running.envoy.listener_ports()["default-8443"]
        assert port == running.port + 1
        context = ssl.create_default_context(cafile=tmp_path / "secrets" / "chat-tls" / "tls.crt")
        connection = http.client.HTTPSConnection("localhost", port, context=context, timeout=10)
        connection.request("GET", "/v1/models")
        assert connection.getresponse().status == 200
        connection.close()


def test_a_missing_certificate_costs_only_its_own_listener(tmp_path: Path) -> None:
    with served(fleet(model("chat"), listeners=both_protocols()), tmp_path, secrets=str(tmp_path)) as running:
        assert set(running.envoy.listener_ports()) == {"default-8080"}
        assert running.request("GET", "/v1/models").status == 200
        assert "default-8443" in running.envoy.get("/config_dump?resource=dynamic_listeners")


def test_a_sidecar_serves_every_model_on_loopback(tmp_path: Path) -> None:
    gateways = (gateway(("chat",), name="one"), gateway(("code",), name="two"))
    with served(fleet(model("chat"), model("code"), gateways=gateways), tmp_path, group="sidecar") as running:
        assert [entry["id"] for entry in running.request("GET", "/v1/models").json["data"]] == ["chat", "code"]


def test_a_gateway_without_hosts_for_envoy_is_ready_and_listens_nowhere(tmp_path: Path) -> None:
    given = fleet(model("chat"), hosts=(Host("*", Carrier.ISTIO),))
    with envoy_process(bootstrap_from_files(snapshot(given, Group("default")), tmp_path), tmp_path) as envoy:
        assert envoy.listener_ports() == {}


def every_setting() -> Fleet:
    """A model for each value that a setting can take, and for both ends of each range."""
    base = model("base")
    hash_keys = [HashKey(source, "who") for source in HashSource]
    balancing = [
        *(
            LoadBalancing(strategy, None, HashAlgorithm.MAGLEV, SlowStart(seconds(window), percent))
            for strategy in (Strategy.LEAST_CONNECTIONS, Strategy.ROUND_ROBIN, Strategy.WEIGHTED_RANDOM)
            for window, percent in ((0, 0), (30, 0), (30, 100))
        ),
        *(
            LoadBalancing(Strategy.CONSISTENT_HASH, key, algorithm, SlowStart(seconds(0), 10))
            for key in hash_keys
            for algorithm in HashAlgorithm
        ),
    ]
    pools = [ConnectionPool(0, 0, 0, 0, seconds(1)), ConnectionPool(1, 1, 1, 1, seconds(0.001))]
    outliers = [
        OutlierDetection(0, seconds(10), seconds(60), 100),
        OutlierDetection(1, seconds(0.001), seconds(0.001), 0),
    ]
    retries = [Retries(0, (), (), seconds(0.001)), Retries(100, ("reset",), (500, 599), seconds(3600))]
    timeouts = [Timeouts(*[seconds(0)] * 4), Timeouts(*[seconds(86400)] * 4)]
    changes: list[dict[str, Any]] = [
        *({"load_balancing": value} for value in balancing),
        *({"versions": (version(connection_pool=pool),)} for pool in pools),
        *({"outlier_detection": value} for value in outliers),
        *({"retries": value} for value in retries),
        *({"timeouts": value} for value in timeouts),
    ]
    return fleet(*(replace(base, name=f"model-{number}", **change) for number, change in enumerate(changes)))


def test_envoy_accepts_every_setting(tmp_path: Path) -> None:
    given = every_setting()
    with served(given, tmp_path) as running:
        updates = running.envoy.stats("(cds|lds|rds|rtds).*update_(rejected|success)")
        assert {name: count for name, count in updates.items() if "rejected" in name and count} == {}
        assert running.envoy.stats("cluster_manager.active_clusters")["cluster_manager.active_clusters"] == len(
            given.models
        )
        for chosen in given.models:
            assert running.ask({"model": chosen.name}).error["code"] == "no_healthy_instance"
