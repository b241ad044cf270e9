"""A poisoned edit reaches no Envoy, or is refused and told with its line and commit, and harms no other model.

Policy cannot say most of what is tried here, since the compiler refuses it. So the translation has bugs for a while,
and what it makes of one model is poison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from envoy.extensions.filters.http.lua.v3 import lua_pb2
from envoy.extensions.transport_sockets.tls.v3 import tls_pb2

from tests.envoy.poisoned import Arena, arena, spoiled
from xds.snapshot import ResourceSet, ResourceType, resource
from xds.soundness.constraints import unpacked

VICTIM, VERSION, GATEWAY = "metadata: {name: victim}", '- name: "1.0"', "metadata: {name: public}"


@dataclass(frozen=True)
class Poison:
    name: str
    where: str
    """The function of the translation that makes it."""
    change: Callable[[Any], Any]
    """Changes in place what the function gives, or gives something in its place."""
    type: str
    resource: str
    line: str
    """Of the policy that is to blame."""
    said: str
    """Part of what is told."""


def versions(name: str, change: Callable[[Any], Any], said: str) -> Poison:
    return Poison(name, "clusters.cluster", change, "cluster", "victim_1-0", VERSION, said)


def instances(name: str, change: Callable[[Any], Any], said: str) -> Poison:
    return Poison(name, "endpoints.load_assignment", change, "endpoint", "victim_1-0", VERSION, said)


def actions(name: str, change: Callable[[Any], Any], said: str) -> Poison:
    return Poison(name, "routes.unary_action", change, "route", "model/victim", VICTIM, said)


def routes(name: str, change: Callable[[Any], Any], said: str) -> Poison:
    return Poison(name, "routes._model_routes", change, "route", "model/victim", VICTIM, said)


def ports(name: str, change: Callable[[Any], Any], said: str) -> Poison:
    return Poison(name, "listeners.listener", change, "listener", "public-8080", GATEWAY, said)


def no_interval(cluster: Any) -> None:
    cluster.health_checks[0].ClearField("interval")


def more_than_all(cluster: Any) -> None:
    cluster.outlier_detection.max_ejection_percent.value = 101


def budget(cluster: Any) -> None:
    cluster.circuit_breakers.thresholds[0].retry_budget.budget_percent.value = 200


def negative_connect_timeout(cluster: Any) -> None:
    cluster.connect_timeout.FromTimedelta(timedelta(seconds=-1))


def unknown_policy(cluster: Any) -> None:
    cluster.lb_policy = 77


def weight_of_nothing(assignment: Any) -> None:
    assignment.endpoints[0].lb_endpoints[0].load_balancing_weight.value = 0


def port_of_nothing(assignment: Any) -> None:
    assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value = 0


def host_name(assignment: Any) -> None:
    assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address = "gpu-7"


def zone(assignment: Any) -> None:
    assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address = "::1%lo"


def another_cluster(assignment: Any) -> None:
    assignment.cluster_name = "somebody-else"


def no_weight(action: Any) -> None:
    for share in action.weighted_clusters.clusters:
        share.weight.value = 0


def nowhere(action: Any) -> None:
    action.weighted_clusters.clusters[0].name = "victim_2"


def negative_timeout(action: Any) -> None:
    action.timeout.FromTimedelta(timedelta(seconds=-5))


def hash_of_nothing(action: Any) -> None:
    action.hash_policy.add(header={"header_name": ""})


def regex(found: Any) -> None:
    found[-1].match.headers.add(name="x-team", string_match={"safe_regex": {"regex": "(chat"}})


def long_header(found: Any) -> None:
    found[-1].response_headers_to_add.add(header={"key": "x" * 20_000, "value": "1"})


def broken_header(found: Any) -> None:
    found[-1].response_headers_to_add.add(header={"key": "x-team", "value": "a\nb"})


def domains(made: ResourceSet) -> ResourceSet:
    def change(table: Any) -> None:
        table.virtual_hosts.add().CopyFrom(table.virtual_hosts[0])
        table.virtual_hosts[1].name = "second"

    return tables(made, change)


def renamed(made: ResourceSet) -> ResourceSet:
    return tables(made, lambda table: setattr(table, "name", "private"))


def tables(made: ResourceSet, change: Callable[[Any], Any]) -> ResourceSet:
    """Each changed in place."""
    found = []
    for of in made.values():
        table: Any = unpacked(ResourceType.ROUTE, of.body)
        change(table)
        found.append(resource(of.name, table.SerializeToString(deterministic=True), of.origin, of.lines))
    return ResourceSet(found)


def no_chain(listener: Any) -> None:
    listener.ClearField("filter_chains")


def same_port(listener: Any) -> None:
    """Of the listener beside it."""
    listener.address.socket_address.port_value += 1 if listener.name == "public-8080" else 0


def filters(change: Callable[[Any], Any]) -> Callable[[Any], None]:
    """Of the connection manager."""

    def changed(listener: Any) -> None:
        box = listener.filter_chains[0].filters[0].typed_config
        manager: Any = unpacked(box.type_url, box.value)
        change(manager)
        box.value = manager.SerializeToString(deterministic=True)

    return changed


def unknown_filter(manager: Any) -> None:
    manager.http_filters[2].typed_config.type_url = "type.googleapis.com/envoy.extensions.filters.http.nobody.v3.Nobody"


def another_table(manager: Any) -> None:
    manager.rds.route_config_name = "private"


def lua(manager: Any) -> None:
    box = manager.http_filters[0].typed_config
    script: Any = unpacked(box.type_url, box.value)
    script.default_source_code.inline_string = "function envoy_on_request(handle"
    box.value = script.SerializeToString(deterministic=True)


def router_first(manager: Any) -> None:
    manager.http_filters.insert(0, manager.http_filters.pop())


def no_certificate(listener: Any) -> None:
    socket = listener.filter_chains[0].transport_socket
    certificate = {"certificate_chain": {"filename": "/nowhere.crt"}, "private_key": {"filename": "/nowhere.key"}}
    socket.name = "envoy.transport_sockets.tls"
    socket.typed_config.Pack(tls_pb2.DownstreamTlsContext(common_tls_context={"tls_certificates": [certificate]}))


def lua_of_route(found: Any) -> None:
    script = lua_pb2.LuaPerRoute(source_code={"inline_string": "function envoy_on_request(handle"})
    found[-1].typed_per_filter_config["turnout.renaming"].Pack(script)


def unknown_command(found: Any) -> None:
    found[-1].response_headers_to_add.add(header={"key": "x-team", "value": "%NOBODY%"})


def unknown_cluster_type(cluster: Any) -> None:
    cluster.ClearField("type")
    cluster.ClearField("eds_cluster_config")
    cluster.cluster_type.name = "envoy.clusters.nobody"


HELD_BACK = (
    versions("health check without interval", no_interval, "health_checks[0].interval: not absent"),
    versions("more than all ejected", more_than_all, "max_ejection_percent: at most 100, not 101"),
    versions("retry budget of 200 %", budget, "budget_percent.value: at most 100, not 200"),
    versions("negative connect timeout", negative_connect_timeout, "connect_timeout: more than 0s, not -1s"),
    versions("load balancing that nobody knows", unknown_policy, "lb_policy: one of LbPolicy, not 77"),
    instances("instance without weight", weight_of_nothing, "load_balancing_weight: at least 1, not 0"),
    instances("instance at port 0", port_of_nothing, "port_value: more than 0, not 0"),
    instances("instance by name", host_name, "address: an IP address, not 'gpu-7'"),
    instances("instance with a zone in its address", zone, "address: an IP address, not '::1%lo'"),
    instances("load assignment of another cluster", another_cluster, "cluster_name: as asked for, 'victim_1-0'"),
    actions("split that sums to 0", no_weight, "weighted_clusters: weights sum to more than 0, not 0"),
    actions("route to a cluster that is not there", nowhere, "the reference to cluster 'victim_2', which is not there"),
    actions("negative timeout", negative_timeout, "timeout: not negative, but -5s"),
    actions("hash of a header without name", hash_of_nothing, "header_name: not empty"),
    routes("broken regular expression", regex, "safe_regex.regex: missing ): (chat"),
    routes("header name of 20,000 bytes", long_header, "header.key: at most 16,384 long, not 20,000"),
    routes("header with a line break", broken_header, "header.value: the value of a header"),
    Poison("domain twice", "routes._table", domains, "route", "public", GATEWAY, "each domain once"),
    Poison("table by another name", "routes._table", renamed, "route", "public", GATEWAY, "'public', not"),
    ports("listener without filters", no_chain, "filter_chains: at least 1, not 0"),
    ports("listener at the port of another", same_port, "address: an address of its own"),
    ports("filter that nobody has", filters(unknown_filter), "http_filters[2].typed_config: of a type that there is"),
    ports(
        "listener for a table that is not there",
        filters(another_table),
        "the reference to route 'private', which is not there",
    ),
)
REFUSED = (
    ports("broken Lua", filters(lua), "script load error"),
    ports("filters after the router", filters(router_first), "terminal"),
    ports("certificate that is not there", no_certificate, "/nowhere.key"),
    routes("broken Lua of a route", lua_of_route, "script load error"),
    routes("header with a command that nobody knows", unknown_command, "NOBODY"),
    versions("cluster of a type that nobody knows", unknown_cluster_type, "envoy.clusters.nobody"),
)
"""What Envoy alone can tell."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Arena]:
    with arena(tmp_path_factory.mktemp("arena")) as found:
        yield found


def concerns(arguments: tuple[Any, ...]) -> bool:
    """Whether something is made of the victim, or of the gateway that all models have in common."""
    of = arguments[1] if len(arguments) > 1 and hasattr(arguments[1], "model") else arguments[0]
    if hasattr(of, "listeners"):
        return bool(of.name == "public")
    if hasattr(of, "shares"):
        return bool(of.name == "model/victim")
    model = getattr(of, "model", None) or arguments[1]
    return bool(model.name == "victim")


def made_wrongly(change: Callable[[Any], Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    def spoil(make: Callable[..., Any]) -> Callable[..., Any]:
        def made(*arguments: Any, **named: Any) -> Any:
            found = make(*arguments, **named)
            if not concerns(arguments):
                return found
            changed = change(found)
            return found if changed is None else changed

        return made

    return spoil


def is_told(poison: Poison, code: str, place: Arena, commit: str) -> bool:
    line = f"policies/models.yaml:{place.line(poison.line)}:"
    return place.status()["policy"]["commit"] == commit and any(
        told["code"] == code
        and told["type"] == poison.type
        and (told.get("route") or told["name"]) == poison.resource
        and told["origin"].startswith(line)
        and poison.said in (told.get("breaks") or told["detail"])
        and told["kept"]
        for told in place.told()
    )


def refusals(place: Arena) -> int:
    return sum(place.envoy.stats("update_rejected|lds.*rejected").values())


@pytest.mark.parametrize("poison", HELD_BACK, ids=lambda poison: poison.name.replace(" ", "-"))
def test_what_is_not_sound_is_held_back_and_reaches_no_envoy(poison: Poison, place: Arena) -> None:
    refused = refusals(place)
    with spoiled(poison.where, made_wrongly(poison.change)):
        commit = place.edit()
        place.wait(lambda: is_told(poison, "X102", place, commit), poison.said)
        place.wait(lambda: place.has("other_1") == place.turn, "the other model's edit")
        assert place.answers("other") == place.answers("victim") == 200
        place.wait(lambda: all(envoy["synced"] for envoy in place.status()["envoys"]), "every Envoy in sync")
        assert place.metric(f'turnout_held_back{{type="{poison.type}"}}') > 0
    place.edit()
    place.wait_until_well()
    assert refusals(place) == refused
    assert place.answers("other") == place.answers("victim") == 200


@pytest.mark.parametrize("poison", REFUSED, ids=lambda poison: poison.name.replace(" ", "-"))
def test_what_an_envoy_refuses_is_told_with_its_line_and_commit_and_the_rest_goes_on(
    poison: Poison, place: Arena
) -> None:
    with spoiled(poison.where, made_wrongly(poison.change)):
        commit = place.edit()
        place.wait(lambda: is_told(poison, "X101", place, commit), poison.said)
        place.wait(lambda: place.has("other_1") == place.turn, "the other model's edit")
        assert place.answers("other") == place.answers("victim") == 200
    place.edit()
    place.wait_until_well()
    assert place.answers("other") == place.answers("victim") == 200


def test_a_new_cluster_that_an_envoy_refuses_holds_up_no_other_models_routes(place: Arena) -> None:
    """A model comes with it, and a version of the victim that is to have all but a tenth of its requests."""

    def arrivals(text: str) -> str:
        text = text.replace(f"{place.turn}ms}}}}", f"{place.turn}ms}}, timeouts: {{unary: {{total: {place.turn}s}}}}}}")
        victim, new = text.replace("weight: 90", "weight: 10").split('    - name: "1.1"\n      weight: 10\n')
        fresh = text[text.index("---\napiVersion: turnout.dev/v1\nkind: InferenceModel\nmetadata: {name: other}") :]
        fresh = fresh[: fresh.index("---", 3)].replace("other", "fresh").replace(str(place.ports["other"]), "1")
        return f'{victim}    - name: "1.1-new"\n      weight: 90\n{new}{fresh}'

    def spoil(make: Callable[..., Any]) -> Callable[..., Any]:
        def made(name: str, *others: Any) -> Any:
            found = make(name, *others)
            if name.startswith(("victim_1.1-new", "fresh_")):
                unknown_cluster_type(found)
            return found

        return made

    with spoiled("clusters.cluster", spoil):
        place.edit(arrivals)
        place.wait(lambda: {of["name"] for of in place.told()} >= {"fresh_1"}, "X101")
        place.wait(lambda: place.route_timeout("other") == place.turn, "the other model's route")
        assert place.answers("other") == place.answers("victim") == 200
        assert place.answers("fresh") == 503
    place.edit()
    place.wait_until_well()
    assert place.answers("other") == place.answers("victim") == 200


@pytest.mark.parametrize(
    ("code", "good", "bad"),
    [
        pytest.param("P202", "weight: 90", "weight: 0", id="weights-that-sum-to-10"),
        pytest.param("P105", "unary: {total: ", "unary: {total: -", id="a-negative-timeout"),
        pytest.param("P104", "port: 8081", "port: 0", id="a-listener-at-port-0"),
        pytest.param("P104", "weight: 10\n", "weight: -10\n", id="a-negative-weight"),
        pytest.param("P204", "name: victim", "name: other", id="two-models-of-one-name"),
        pytest.param("P001", "hosts: [", "hosts: [[", id="no-YAML"),
    ],
)
def test_what_policy_can_say_wrongly_reaches_no_translation(code: str, good: str, bad: str, place: Arena) -> None:
    turn = place.turn
    place.edit(lambda text: text.replace(good, bad))
    place.wait(lambda: place.status()["policy"]["state"] == "broken", code)
    assert code in {found["code"] for found in place.status()["policy"]["diagnostics"]}
    assert place.has("other_1") == place.has("victim_1-0") == turn
    assert place.answers("other") == place.answers("victim") == 200
    place.edit()
    place.wait_until_well()


def test_turnout_status_tells_it_and_ends_with_1(place: Arena) -> None:
    with spoiled("clusters.cluster", made_wrongly(more_than_all)):
        commit = place.edit()
        place.wait(lambda: place.status()["policy"]["commit"] == commit and bool(place.told()), "X102")
        run = place.turnout_status()
        assert run.returncode == 1
        line = f"policies/models.yaml:{place.line(VERSION)}:13: X102 held back: cluster 'victim_1-0' breaks "
        assert f"{line}outlier_detection.max_ejection_percent: at most 100, not 101 · commit {commit}\n" in run.stdout
    place.edit()
    place.wait_until_well()
    assert place.turnout_status().returncode == 0


def test_live_weights_that_sum_to_0_are_not_sent(place: Arena) -> None:
    """Envoy would take them, and answer 404 to every request of the model."""
    place.set_weights("victim", {"1.0": 50, "1.1": 50})
    place.wait(lambda: place.live_weights() == {"victim_1-0": 5000, "victim_1-1": 5000}, "live weights")
    with spoiled("runtime._split_keys", lambda keys: lambda live: ((key, 0) for key, _ in keys(live))):
        place.set_weights("victim", {"1.0": 60, "1.1": 40})
        place.wait(lambda: bool(place.told()), "X103")
        (told,) = place.told()
        assert (told["code"], told["name"]) == ("X103", "model/victim")
        assert told["origin"].startswith(f"policies/models.yaml:{place.line(VICTIM)}:")
        assert place.live_weights() == {"victim_1-0": 5000, "victim_1-1": 5000}
        assert place.answers("victim") == 200
    place.set_weights("victim", {"1.0": 70, "1.1": 30})
    place.wait(lambda: place.live_weights() == {"victim_1-0": 7000, "victim_1-1": 3000}, "live weights")
    assert not place.told()
    place.take_weights_back("victim")
    place.wait(lambda: not place.live_weights(), "policy's weights")
