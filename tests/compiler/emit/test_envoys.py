"""The control server and the Envoys of gateways, as they run in a cluster."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from compiler.diagnostics import BUILT_IN
from compiler.emit import envoys, observability, priorities, tenancy
from compiler.emit.names import GATEWAY_METRICS, SIDECARS_LABEL
from compiler.fleet import (
    Carrier,
    Fleet,
    Gateway,
    Listener,
    Platform,
    PodResources,
    Protocol,
    Repository,
    ServiceType,
    Timeouts,
)
from compiler.kept import Kept
from tests.compiler.emit.cluster import Cluster, Pod, beyond_baseline
from tests.compiler.emit.fleets import GI, control_server, fleet, gateway, model, owned, tenant
from tests.manifests.schemas import validate
from xds.translate.group import SIDECAR_PORT, Placement
from xds.translate.listeners import listeners

Body = Mapping[str, Any]
EDGE = gateway("edge", "mistral-7b", carrier=Carrier.ENVOY)
SERVER = control_server()


def with_server(*gateways: Gateway, **platform: Any) -> Fleet:
    of = fleet(model(), gateways=gateways or (EDGE,))
    return replace(of, platform=replace(Platform(control_server=SERVER), **platform))


def made(of: Fleet) -> dict[str, Body]:
    """By kind and name, and for sidecars with the namespace in front."""
    found: dict[str, Body] = {}
    for item in envoys.objects(of, Kept()):
        name = item.body["metadata"]["name"]
        space = f"{item.body['metadata']['namespace']}/" if name == "turnout-sidecar" else ""
        found[f"{space}{item.body['kind']}/{name}"] = item.body
    return found


def pod(of: Fleet, name: str = "turnout-gateway-edge") -> Any:
    return made(of)[f"Deployment/{name}"]["spec"]["template"]


def container(of: Fleet, name: str = "turnout-gateway-edge") -> Any:
    (only,) = pod(of, name)["spec"]["containers"]
    return only


def following(arguments: list[str], option: str) -> str:
    return arguments[arguments.index(option) + 1]


def test_without_a_control_server_nothing_of_it_runs_and_declared_gateways_are_told_of() -> None:
    of = replace(with_server(EDGE, replace(EDGE, name="built", origin=BUILT_IN)), platform=Platform())
    assert list(envoys.objects(of, Kept())) == []
    (said,) = envoys.diagnostics(of, Kept())
    assert (said.code, said.severity, said.position) == ("P320", "info", EDGE.origin)
    assert list(envoys.diagnostics(with_server(), Kept())) == []


def test_a_gateway_that_istio_carries_whole_has_no_envoys() -> None:
    of = with_server(EDGE, gateway("mesh", "mistral-7b", carrier=Carrier.ISTIO))
    assert {name for name in made(of) if name.startswith("Deployment")} == {
        "Deployment/turnout-control",
        "Deployment/turnout-gateway-edge",
    }


@pytest.mark.parametrize("name", ["turnout-control", "turnout-gateway-edge"])
def test_what_belongs_together_finds_its_pods(name: str) -> None:
    found = made(with_server())
    labels = found[f"Deployment/{name}"]["spec"]["template"]["metadata"]["labels"].items()
    ports = {port["name"] for port in found[f"Deployment/{name}"]["spec"]["template"]["spec"]["containers"][0]["ports"]}
    service = found[f"Service/{name}"]["spec"]
    for selector in (
        found[f"Deployment/{name}"]["spec"]["selector"]["matchLabels"],
        service["selector"],
        found[f"PodDisruptionBudget/{name}"]["spec"]["selector"]["matchLabels"],
        found[f"NetworkPolicy/{name}"]["spec"]["podSelector"]["matchLabels"],
    ):
        assert selector.items() <= labels
    assert {port["targetPort"] for port in service["ports"]} <= ports
    spec = found[f"Deployment/{name}"]["spec"]["template"]["spec"]
    assert spec["serviceAccountName"] == name
    assert found[f"ServiceAccount/{name}"]["automountServiceAccountToken"] is False


def test_prometheus_finds_them() -> None:
    of = with_server(prometheus="http://prometheus.monitoring.svc:9090")
    found = made(of)
    monitors = {
        item.body["metadata"]["name"]: item.body["spec"]
        for item in observability.objects(of, Kept())
        if item.body["kind"].endswith("Monitor")
    }
    own = monitors["turnout-envoys"]
    (asked,) = own["podMetricsEndpoints"]
    labels = found["Deployment/turnout-gateway-edge"]["spec"]["template"]["metadata"]["labels"]
    assert own["selector"]["matchLabels"].items() <= labels.items()
    assert asked["port"] in {port["name"] for port in container(of)["ports"]}
    assert own["namespaceSelector"]["matchNames"] == ["ai-inference"]
    control = monitors["turnout-control"]
    service = found["Service/turnout-control"]
    assert control["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert control["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}


APPS = "app.kubernetes.io/name"
GATEWAY_POD = Pod("ai-inference", {APPS: "turnout-gateway", "turnout.dev/gateway": "edge"})
CONTROL_POD = Pod("ai-inference", {APPS: "turnout-control"})
PROMETHEUS = Pod("monitoring", {APPS: "prometheus"})
SIDECAR, STRANGER, TENANTS = Pod("clients"), Pod("elsewhere"), Pod("ai-inference-bank", {APPS: "prometheus"})


@pytest.mark.parametrize(
    ("target", "port", "who"),
    [
        (CONTROL_POD, "grpc-xds", {"gateway", "sidecar"}),
        (CONTROL_POD, "http-metrics", {"prometheus"}),
        (CONTROL_POD, 18002, set()),
        (GATEWAY_POD, 8080, {"gateway", "sidecar", "prometheus", "stranger", "tenant", "control"}),
        (GATEWAY_POD, GATEWAY_METRICS, {"prometheus"}),
        (GATEWAY_POD, "drain", set()),
        (GATEWAY_POD, 9901, set()),
    ],
)
def test_who_reaches_what(target: Pod, port: int | str, who: set[str]) -> None:
    bank = tenant("bank", 8)
    of = replace(with_server(), tenants=(bank,))
    bodies = [item.body for emitter in (envoys, tenancy) for item in emitter.objects(of, Kept())]
    foreign = {"clients": {SIDECARS_LABEL: "true"}, "elsewhere": {}, "monitoring": {}}
    cluster = Cluster(bodies, foreign)
    asking = {
        "gateway": GATEWAY_POD,
        "control": CONTROL_POD,
        "prometheus": PROMETHEUS,
        "sidecar": SIDECAR,
        "stranger": STRANGER,
        "tenant": TENANTS,
    }
    assert {name for name, source in asking.items() if cluster.reaches(source, target, port)} == who


def test_pods_have_no_rights() -> None:
    of = with_server()
    for name in ("turnout-control", "turnout-gateway-edge"):
        spec = pod(of, name)["spec"]
        assert beyond_baseline(spec) == []
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        for each in (*spec.get("initContainers", ()), *spec["containers"]):
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            }
            assert each["resources"]["limits"]["memory"]


@pytest.mark.parametrize(("ports", "lowest"), [((8080,), None), ((1024, 8443), None), ((8443, 443, 80), "80")])
def test_ports_that_are_root_s_elsewhere_are_the_pod_s_own(ports: tuple[int, ...], lowest: str | None) -> None:
    own = replace(EDGE, listeners=tuple(Listener(port, Protocol.HTTP, None) for port in ports))
    found = pod(with_server(own))["spec"]["securityContext"].get("sysctls")
    wanted = lowest and [{"name": "net.ipv4.ip_unprivileged_port_start", "value": lowest}]
    assert found == wanted


def test_envoy_s_own_ports_keep_out_of_policy_s_way() -> None:
    own = replace(EDGE, listeners=tuple(Listener(port, Protocol.HTTP, None) for port in (9901, 9903)))
    of = with_server(own)
    ports = [port["containerPort"] for port in container(of)["ports"]]
    document = yaml.safe_load(made(of)["ConfigMap/turnout-gateway-edge"]["data"]["bootstrap.yaml"])
    admin = document["admin"]["address"]["socket_address"]
    assert ports == [9901, 9903, 9904, 9905]
    assert admin == {"address": "127.0.0.1", "port_value": 9902}
    found = {
        each["name"]: each["address"]["socket_address"]["port_value"]
        for each in document["static_resources"]["listeners"]
    }
    assert found == {"turnout_stats": 9904, "turnout_drain": 9905}


def test_certificates_are_where_listeners_look_for_them() -> None:
    shared = (Listener(443, Protocol.HTTPS, "edge-tls"), Listener(8443, Protocol.HTTPS, "edge-tls"))
    own = replace(EDGE, listeners=(*shared, Listener(80, Protocol.HTTP, None), Listener(444, Protocol.HTTPS, "other")))
    of = with_server(own)
    sent = [resource.body for resource in listeners(own, Placement()).values()]
    wanted = {found.decode() for body in sent for found in re.findall(rb"(/etc/[-a-z/]+)/tls[.]crt", body)}
    mounts = {each["mountPath"]: each["name"] for each in container(of)["volumeMounts"]}
    volumes = {each["name"]: each for each in pod(of)["spec"]["volumes"]}
    secrets = {path: volumes[name]["secret"]["secretName"] for path, name in mounts.items() if "secrets" in path}
    assert secrets == {"/etc/turnout/secrets/edge-tls": "edge-tls", "/etc/turnout/secrets/other": "other"}
    assert wanted == set(secrets)


def test_a_pod_has_as_long_to_leave_as_its_longest_answer_may_take_within_reason() -> None:
    def grace(*totals: int) -> int:
        of = model()
        models = [
            replace(
                of,
                name=f"m-{number}",
                timeouts=Timeouts(timedelta(1), timedelta(1), timedelta(seconds=total), timedelta(seconds=30)),
            )
            for number, total in enumerate(totals)
        ]
        whole = replace(with_server(replace(EDGE, models=("m-0", "m-1"))), models=tuple(models))
        return int(pod(whole)["spec"]["terminationGracePeriodSeconds"])

    assert grace(40, 60, 500) == 15 + 60 + 5
    assert grace(10, 20) == 15 + 30 + 5
    assert grace(40, 7200) == 15 + 600 + 5


@pytest.mark.parametrize(("cpu", "threads"), [(100, "1"), (1000, "1"), (1001, "2"), (4000, "4")])
def test_envoy_has_a_thread_for_each_core_that_is_begun(cpu: int, threads: str) -> None:
    found = container(with_server(replace(EDGE, resources=PodResources(cpu, 2 * GI))))
    assert following(found["args"], "--concurrency") == threads
    assert found["resources"]["limits"] == {"memory": "2Gi"}


def test_the_node_s_zone_is_told_where_pods_know_it() -> None:
    old, new = container(with_server()), container(with_server(pods_know_zones=True))
    assert "--service-zone" not in old["args"]
    assert following(new["args"], "--service-zone") == "$(ZONE)"
    assert [each["name"] for each in new["env"]] == ["POD_NAME", "ZONE"]


def test_one_pod_has_no_budget() -> None:
    of = with_server(replace(EDGE, replicas=1), control_server=replace(SERVER, replicas=1))
    assert [name for name in made(of) if name.startswith("PodDisruptionBudget")] == []
    assert made(of)["Deployment/turnout-gateway-edge"]["spec"]["replicas"] == 1


def test_a_gateway_s_service_has_policy_s_type_and_ports() -> None:
    listening = (Listener(443, Protocol.HTTPS, "cert"), Listener(80, Protocol.HTTP, None))
    own = replace(EDGE, listeners=listening, service_type=ServiceType.LOAD_BALANCER)
    spec = made(with_server(own))["Service/turnout-gateway-edge"]["spec"]
    assert spec["type"] == "LoadBalancer"
    assert [(port["name"], port["port"]) for port in spec["ports"]] == [("https-443", 443), ("http-80", 80)]


def test_pods_begin_anew_for_another_bootstrap_and_not_for_a_label() -> None:
    before = pod(with_server())
    assert pod(with_server(replace(EDGE, labels=(("team", "edge"),)))) == before
    moved = pod(with_server(namespace="other"))
    assert moved["metadata"]["annotations"] != before["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("url", "arguments", "environment"),
    [
        ("https://git.example.com/p.git", ["--password-file=/etc/git-secret/password"], ["GITSYNC_USERNAME"]),
        (
            "git@git.example.com:p.git",
            ["--ssh-key-file=/etc/git-secret/ssh-privatekey", "--ssh-known-hosts-file=/etc/git-secret/known_hosts"],
            [],
        ),
    ],
)
def test_a_secret_is_given_to_git_sync_as_its_kind_of_repository_wants(
    url: str, arguments: list[str], environment: list[str]
) -> None:
    def sync(secret: str | None) -> tuple[Any, Any]:
        server = replace(SERVER, repository=Repository(url, "v1", "fleet", secret))
        spec = pod(with_server(control_server=server), "turnout-control")["spec"]
        return spec["initContainers"][0], {each["name"]: each for each in spec["volumes"]}

    found, volumes = sync("git")
    public, without = sync(None)
    assert [argument for argument in found["args"] if argument not in public["args"]] == arguments
    assert [each["name"] for each in found.get("env", [])] == environment
    assert volumes["git-secret"]["secret"]["secretName"] == "git"
    assert "git-secret" not in without
    assert found["restartPolicy"] == "Always"


def test_what_can_be_changed_at_the_control_server_stays_in_its_pod() -> None:
    server = container(with_server(), "turnout-control")
    given = dict(argument.split("=", 1) for argument in server["args"] if "=" in argument)
    ports = {port["name"]: port["containerPort"] for port in server["ports"]}
    assert given["--admin"].startswith("127.0.0.1:")
    assert given["--metrics"] == f"0.0.0.0:{ports['http-metrics']}"
    for probe in ("readinessProbe", "livenessProbe"):
        assert server[probe]["httpGet"]["port"] == "http-metrics"
    assert not [argument for argument in given if "token" in argument]


def test_both_sides_of_xds_show_certificates_out_of_secrets_of_their_namespaces() -> None:
    of = with_server()
    for name, secret in (
        ("turnout-control", "turnout-control-xds"),
        ("turnout-gateway-edge", "turnout-gateway-edge-xds"),
    ):
        (volume,) = (each for each in pod(of, name)["spec"]["volumes"] if each["name"] == "xds-tls")
        assert volume["secret"]["secretName"] == secret
        mount = {"name": "xds-tls", "mountPath": "/etc/turnout/xds", "readOnly": True}
        assert mount in container(of, name)["volumeMounts"]
    data = made(of)["ConfigMap/turnout-gateway-edge"]["data"]
    assert set(data) == {"bootstrap.yaml", "turnout_certificate.json", "turnout_ca.json"}
    named = re.findall(r"/etc/turnout/(xds|envoy)/([\w.]+)", "".join(data.values()))
    assert set(named) == {
        *(("xds", file) for file in ("ca.crt", "tls.crt", "tls.key")),
        *(("envoy", file) for file in ("turnout_certificate.json", "turnout_ca.json")),
    }
    assert data["turnout_ca.json"].count("turnout-control.ai-inference.svc.cluster.local") == 1


def test_without_tls_no_secret_is_waited_for_and_no_certificate_shown() -> None:
    of = with_server(control_server=replace(SERVER, tls_secret=None))
    assert not [argument for argument in container(of, "turnout-control")["args"] if "tls" in argument]
    text = yaml.safe_dump([made(of), dict(made(of)["ConfigMap/turnout-gateway-edge"]["data"])])
    assert "xds-tls" not in text
    assert "transport_socket" not in text


def test_the_server_reads_where_git_sync_writes() -> None:
    server = replace(SERVER, repository=Repository("https://h/p.git", "v1", "a/fleet", None), environment="prod")
    of = with_server(control_server=server)
    sync = pod(of, "turnout-control")["spec"]["initContainers"][0]
    assert {"--root=/policies", "--link=current", "--ref=v1"} <= set(sync["args"])
    serving = container(of, "turnout-control")
    assert serving["args"][:4] == ["serve", "/policies/current/a/fleet", "--env", "prod"]
    assert next(each for each in serving["volumeMounts"] if each["mountPath"] == "/policies")["readOnly"] is True


def test_there_are_bootstraps_for_sidecars_where_it_is_known_who_asks() -> None:
    bank, shop, nobody = tenant("bank", 8), tenant("shop"), tenant("nobody")
    of = replace(with_server(), tenants=(bank, shop, nobody), models=(model(), owned("cat", shop)))
    groups = {
        name: yaml.safe_load(body["data"]["bootstrap.yaml"])["node"]["cluster"]
        for name, body in made(of).items()
        if "turnout-sidecar" in name
    }
    assert groups == {
        "ai-inference/ConfigMap/turnout-sidecar": "sidecar",
        "ai-inference-bank/ConfigMap/turnout-sidecar": "sidecar.bank",
        "ai-inference-shop/ConfigMap/turnout-sidecar": "sidecar.shop",
    }


def test_only_the_gateway_that_changed_is_made_again() -> None:
    kept = Kept()
    other = gateway("other", "mistral-7b", carrier=Carrier.ENVOY)
    before = {item.key: item for item in envoys.objects(with_server(EDGE, other), kept)}
    kept = kept.closed()
    after = {item.key: item for item in envoys.objects(with_server(replace(EDGE, replicas=3), other), kept)}
    fresh = {key for key, item in after.items() if item is not before[key]}
    assert fresh
    assert all(key.endswith("turnout-gateway-edge") for key in fresh)


def test_the_container_that_the_docs_put_beside_a_client_goes_with_the_bootstrap() -> None:
    page = (Path(__file__).parents[3] / "docs" / "cluster.md").read_text(encoding="utf-8")
    (text,) = re.findall(r"^```\n(initContainers:.*?)^```$", page, re.MULTILINE | re.DOTALL)
    spec = {"containers": [{"name": "client", "image": "client:1"}], **yaml.safe_load(text)}
    assert validate({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "client"}, "spec": spec}) == []
    (sidecar,) = spec["initContainers"]
    assert sidecar["restartPolicy"] == "Always"
    assert sidecar["image"] == Platform().envoy_image
    body = made(with_server())["ai-inference/ConfigMap/turnout-sidecar"]
    assert spec["volumes"][0]["configMap"]["name"] == body["metadata"]["name"]
    folder, _, file = following(sidecar["args"], "--config-path").rpartition("/")
    assert (folder, file in body["data"]) == (sidecar["volumeMounts"][0]["mountPath"], True)
    document = yaml.safe_load(body["data"][file])
    (stats,) = document["static_resources"]["listeners"]
    assert sidecar["startupProbe"]["httpGet"]["port"] == stats["address"]["socket_address"]["port_value"]
    taken = {
        stats["address"]["socket_address"]["port_value"],
        document["admin"]["address"]["socket_address"]["port_value"],
    }
    assert SIDECAR_PORT not in taken
    assert f"http://127.0.0.1:{SIDECAR_PORT}" in page


def test_no_instance_takes_the_place_of_what_brings_it_its_requests() -> None:
    """The class is there even where no model has it."""
    of = with_server()
    classes = {item.body["metadata"]["name"]: item.body["value"] for item in priorities.objects(of, Kept())}
    own = {pod(of, name)["spec"]["priorityClassName"] for name in ("turnout-gateway-edge", "turnout-control")}
    assert own == {"turnout-critical"}
    assert classes["turnout-critical"] == max(classes.values())
    without = [item.body["metadata"]["name"] for item in priorities.objects(fleet(model()), Kept())]
    assert without == ["turnout-normal"]
