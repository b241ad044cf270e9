"""What is rendered to run in a cluster, run here: the control server's and the gateway's own arguments and bootstraps,
with nothing changed but addresses, ports and folders."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

# Known by name to what reads bootstraps back.
from envoy_data_plane.envoy.extensions.filters.http.fault.v3 import HttpFault  # noqa: F401
from envoy_data_plane.envoy.extensions.filters.http.lua.v3 import Lua  # noqa: F401
from envoy_data_plane.envoy.extensions.filters.http.router.v3 import Router  # noqa: F401
from envoy_data_plane.envoy.extensions.filters.network.http_connection_manager.v3 import (  # noqa: F401
    HttpConnectionManager,
)

from compiler.pipeline import compile_policies, manifests
from demo.processes import Process, Processes, free_port
from demo.stack import ENVOY, TURNOUT, answers, fetch
from tests.certificates import Authority, Pair
from tests.envoy.envoy_process import validate, wait_until
from tests.envoy.upstream import Upstream, upstreams
from tests.features.ads import CLUSTER, stream
from xds.bootstrap import as_envoy_reads_it
from xds.stream.state import Variant

Body = Mapping[str, Any]
STARTED = 20.0
POLICIES = """
apiVersion: turnout.dev/v1
kind: Platform
metadata: {{name: platform}}
spec:
  namespace: serving
  versions: {{kubernetes: "1.35"}}
  controlServer:
    image: registry.example.com/turnout:0.1.0
    repository: {{url: "https://git.example.com/p.git"}}
    tls: {{secretRef: {{name: turnout-control-xds}}}}
---
apiVersion: turnout.dev/v1
kind: Gateway
metadata: {{name: edge}}
spec: {{listeners: [{{port: {port}}}]}}
---
apiVersion: turnout.dev/v1
kind: Gateway
metadata: {{name: other}}
spec: {{hosts: [other.example.com]}}
---
apiVersion: turnout.dev/v1
kind: InferenceModel
metadata: {{name: chat}}
spec:
  modelName: org/chat-7b
  endpoints: [{{address: 127.0.0.1, port: {upstream}}}]
---
apiVersion: turnout.dev/v1
kind: Tenant
metadata: {{name: bank}}
spec: {{gpuQuota: 8}}
"""


def rendered(folder: Path) -> dict[str, Body]:
    """By kind and name; of one name in several namespaces, with the namespace in front."""
    compiled = compile_policies(folder)
    assert compiled.fleet is not None, compiled.diagnostics
    files = manifests(compiled.fleet)
    found = [body for name, text in files.items() if name.endswith(".yaml") for body in yaml.safe_load_all(text)]
    return {
        f"{b['metadata']['namespace']}/{b['kind']}/{b['metadata']['name']}": b
        for b in found
        if "namespace" in b.get("metadata", {})
    }


def policies(folder: Path, port: int, upstream: int) -> Path:
    """As git-sync leaves them: behind a link."""
    tree = folder / ".worktrees" / ("0" * 40) / "policies"
    tree.mkdir(parents=True)
    (tree / "all.yaml").write_text(POLICIES.format(port=port, upstream=upstream))
    (folder / "current").symlink_to(f".worktrees/{'0' * 40}")
    return folder / "current" / "policies"


def container(deployment: Body) -> Body:
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return dict(found)


def moved(part: Any, ports: Mapping[int, int]) -> Any:
    """`part` of a bootstrap with other ports, on loopback."""
    if isinstance(part, dict):
        if "port_value" in part:
            address, port = part["address"], part["port_value"]
            return {"address": "127.0.0.1" if port in ports else address, "port_value": ports.get(port, port)}
        return {key: moved(value, ports) for key, value in part.items()}
    return [moved(item, ports) for item in part] if isinstance(part, list) else part


class Certificates:
    """Secrets as cert-manager writes them for what is rendered, as folders."""

    def __init__(self, work: Path, objects: Mapping[str, Body]) -> None:
        self.authority = Authority(work / "ca")
        self._objects = objects
        service = objects["serving/Service/turnout-control"]["metadata"]
        name = f"{service['name']}.{service['namespace']}.svc.cluster.local"
        self.control_server = self._secret(self.authority.pair("control", f"DNS:{name}", "IP:127.0.0.1"))

    def gateway(self, name: str) -> Path:
        """With the identity that Istio, SPIRE and cert-manager give to the ServiceAccount of its pods."""
        deployment = self._objects[f"serving/Deployment/turnout-gateway-{name}"]
        account = deployment["spec"]["template"]["spec"]["serviceAccountName"]
        space = deployment["metadata"]["namespace"]
        return self._secret(self.authority.pair(name, f"URI:spiffe://cluster.local/ns/{space}/sa/{account}"))

    def _secret(self, pair: Pair) -> Path:
        (pair.folder / "ca.crt").write_bytes(self.authority.certificate.read_bytes())
        return pair.folder


def mounted(folder: Path, config_map: Body, secret: Path) -> Any:
    """The bootstrap of a ConfigMap, which with its other files is in `folder`, with the certificates of `secret`."""
    folder.mkdir()
    places = {"/etc/turnout/envoy": str(folder), "/etc/turnout/xds": str(secret)}
    for name, text in config_map["data"].items():
        (folder / name).write_text(replaced(text, places))
    return yaml.safe_load((folder / "bootstrap.yaml").read_text())


@dataclass(frozen=True)
class Running:
    envoy: Process
    server: str
    """URL of the control server's admin interface."""
    metrics: str
    """URL of what Prometheus and the kubelet find of it."""
    ports: Mapping[str, int]
    """By their names in the gateway's pod; `admin` beside them."""
    upstream: Upstream
    drain: str
    """The path that the kubelet asks for."""
    xds: str
    certificates: Certificates

    def ask(self) -> tuple[int, Mapping[str, str], bytes]:
        body = json.dumps({"model": "chat", "messages": []}).encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.ports["http"], timeout=30)
        try:
            connection.request("POST", "/v1/chat/completions", body, {"content-type": "application/json"})
            answer = connection.getresponse()
            return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def get(self, port: str, path: str, method: str = "GET") -> int:
        """The status alone."""
        asked = urllib.request.Request(f"http://127.0.0.1:{self.ports[port]}{path}", method=method)
        try:
            with urllib.request.urlopen(asked, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as refused:
            return refused.code


@contextmanager
def running(work: Path) -> Iterator[Running]:
    listen, admin, stats, drain, xds, page, metrics = (free_port() for _ in range(7))
    with upstreams("chat") as servers, Processes(work) as processes:
        folder = policies(work / "git", listen, servers["chat"].port)
        objects = rendered(folder)
        server = container(objects["serving/Deployment/turnout-control"])
        certificates = Certificates(work, objects)
        moves = {
            "/etc/turnout/xds": str(certificates.control_server),
            "/policies/current": str(work / "git" / "current"),
            "=/state": f"={work / 'state'}",
            "0.0.0.0:18000": f"127.0.0.1:{xds}",
            "127.0.0.1:18001": f"127.0.0.1:{page}",
            "0.0.0.0:18003": f"127.0.0.1:{metrics}",
        }
        control = processes.start("control", [*TURNOUT, *(replaced(argument, moves) for argument in server["args"])])
        probe = server["readinessProbe"]["httpGet"]["path"]
        control.wait_until(lambda: answers(f"http://127.0.0.1:{metrics}{probe}"), STARTED, "serving")
        pod = container(objects["serving/Deployment/turnout-gateway-edge"])
        names = {port["name"]: port["containerPort"] for port in pod["ports"]}
        config = mounted(
            work / "config", objects["serving/ConfigMap/turnout-gateway-edge"], certificates.gateway("edge")
        )
        ports = {names["stats"]: stats, names["drain"]: drain, 9901: admin, 18000: xds}
        at = work / "bootstrap.yaml"
        at.write_text(yaml.safe_dump(moved(config, ports)))
        given = {
            "/etc/turnout/envoy/bootstrap.yaml": str(at),
            "$(POD_NAME)": "turnout-gateway-edge-6d4b75cb6d-hwpcq",
            "$(ZONE)": "az-1",
        }
        command = [ENVOY, *(replaced(argument, given) for argument in pod["args"]), "--log-level", "warning"]
        envoy = processes.start("envoy", command)
        ready = pod["readinessProbe"]["httpGet"]
        assert ready["port"] == "stats"
        envoy.wait_until(lambda: answers(f"http://127.0.0.1:{stats}{ready['path']}"), STARTED, "ready")
        hook = pod["lifecycle"]["preStop"]["httpGet"]
        assert hook["port"] == "drain"
        found = {"http": listen, "stats": stats, "drain": drain, "admin": admin}
        urls = f"http://127.0.0.1:{page}", f"http://127.0.0.1:{metrics}"
        yield Running(envoy, *urls, found, servers["chat"], hook["path"], f"127.0.0.1:{xds}", certificates)


def replaced(text: str, by: Mapping[str, str]) -> str:
    for old, new in by.items():
        text = text.replace(old, new)
    return text


def test_a_gateway_s_envoy_answers_by_the_control_server_s_word_and_leaves_when_its_streams_have(
    tmp_path: Path,
) -> None:
    with running(tmp_path) as gateway:
        status, headers, body = gateway.ask()
        assert (status, json.loads(body)["upstream"]) == (200, "chat")
        assert "connection" not in headers
        (envoy,) = json.loads(fetch(f"{gateway.server}/status"))["envoys"]
        told = envoy["node"], envoy["group"], envoy["zone"], envoy["synced"]
        assert told == ("turnout-gateway-edge-6d4b75cb6d-hwpcq", "edge", "az-1", True)
        assert envoy["identity"] == "spiffe://cluster.local/ns/serving/sa/turnout-gateway-edge"
        metrics_and_nothing_else(gateway)
        of_the_control_server(gateway)
        another_gateway_s_envoy_is_refused(gateway)
        drained(gateway)


def metrics_and_nothing_else(gateway: Running) -> None:
    asked = "/stats/prometheus?filter=server.live"
    assert b"envoy_server_live" in fetch(f"http://127.0.0.1:{gateway.ports['stats']}{asked}")
    for path in (
        *("/", "/stats", "/config_dump", "/quitquitquit", "/ready/", "//ready", "/ready/../config_dump"),
        *("/stats/prometheus/", "/READY", "/logging?level=debug", "/drain", "/wait", "/healthcheck/fail"),
        "/ready%2f..%2fconfig_dump",
    ):
        assert gateway.get("stats", path) == 404, path
    for path in ("/ready", "/stats/prometheus"):
        assert gateway.get("stats", path, "POST") == 404, path
    for path in ("/", "/ready", "/config_dump", "/healthcheck/fail", "/drain/"):
        assert gateway.get("drain", path) == 404, path
    assert gateway.get("drain", "/drain", "POST") == 404
    assert gateway.get("stats", "/ready") == 200  # and none of these has changed anything


def of_the_control_server(gateway: Running) -> None:
    """The kubelet and Prometheus find theirs, and nobody outside of the pod anything else."""
    for path in ("/healthz", "/readyz"):
        assert answers(gateway.metrics + path)
    assert b"turnout_envoys" in fetch(f"{gateway.metrics}/metrics")
    for path in ("/status", "/config_dump", "/weights", "/explain"):
        with pytest.raises(urllib.error.HTTPError, match="404"):
            fetch(gateway.metrics + path)


def another_gateway_s_envoy_is_refused(gateway: Running) -> None:
    async def asked(group: str, secret: Path) -> tuple[grpc.StatusCode, str]:
        ca, key, certificate = ((secret / name).read_bytes() for name in ("ca.crt", "tls.key", "tls.crt"))
        shown = grpc.ssl_channel_credentials(ca, key, certificate)
        async with stream(gateway.xds, Variant.DELTA, cluster=group, credentials=shown) as envoy:
            await envoy.ask(CLUSTER)
            return await envoy.ended()

    other = gateway.certificates.gateway("other")
    found = asyncio.run(asked("edge", other))
    identity = "spiffe://cluster.local/ns/serving/sa/turnout-gateway-other"
    said = f"X105 node gw-1: group 'edge' is not for {identity}"
    assert found == (grpc.StatusCode.PERMISSION_DENIED, said)


def drained(gateway: Running) -> None:
    """The kubelet's hook, with less to wait for than 15 seconds."""
    gateway.upstream.gaps = (0.5,) * 8
    answered: dict[str, Any] = {}
    stream = threading.Thread(target=lambda: answered.update(stream=gateway.ask()))
    stream.start()
    wait_until(lambda: len(gateway.upstream.received) == 2, what="a stream is under way")
    path = re.sub(r"least=[0-9]+", "least=1", gateway.drain)
    assert path != gateway.drain
    hook = threading.Thread(target=lambda: answered.update(hook=gateway.get("drain", path)))
    hook.start()
    wait_until(lambda: gateway.get("stats", "/ready") == 503, what="Envoy says that it is not ready")
    gateway.upstream.gaps = ()
    # Who has not heard of it yet is still answered, and told to connect anew.
    status, headers, _ = gateway.ask()
    assert (status, headers["connection"]) == (200, "close")
    assert "hook" not in answered
    hook.join(STARTED)
    assert answered["hook"] == 200
    assert not stream.is_alive()
    assert answered["stream"][2].count(b"data: ") == 8
    assert gateway.envoy.alive


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Body]:
    return rendered(policies(tmp_path_factory.mktemp("git"), 8080, 9001))


@pytest.fixture
def config_maps(objects: dict[str, Body]) -> dict[str, Body]:
    return {key: body for key, body in objects.items() if "bootstrap.yaml" in body.get("data", {})}


@pytest.fixture
def bootstraps(config_maps: dict[str, Body]) -> dict[str, dict[str, Any]]:
    return {key: yaml.safe_load(body["data"]["bootstrap.yaml"]) for key, body in config_maps.items()}


def test_there_is_a_bootstrap_for_each_gateway_and_for_sidecars_wherever_it_is_known_who_asks(
    bootstraps: dict[str, dict[str, Any]],
) -> None:
    assert {key: found["node"] for key, found in bootstraps.items()} == {
        "serving/ConfigMap/turnout-gateway-edge": {"cluster": "edge"},
        "serving/ConfigMap/turnout-gateway-other": {"cluster": "other"},
        "serving/ConfigMap/turnout-sidecar": {"cluster": "sidecar"},
        "serving-bank/ConfigMap/turnout-sidecar": {"cluster": "sidecar.bank"},
    }


def test_envoy_takes_every_rendered_bootstrap(
    config_maps: dict[str, Body], objects: dict[str, Body], tmp_path: Path
) -> None:
    secret = Certificates(tmp_path, objects).gateway("edge")
    for number, (key, body) in enumerate(config_maps.items()):
        found = mounted(tmp_path / str(number), body, secret)
        result = validate(json.dumps(found), tmp_path, "--service-node", "pod-1", "--service-zone", "")
        assert result.returncode == 0, f"{key}: {result.stderr}"


def test_every_rendered_bootstrap_is_envoy_s_own_message(bootstraps: dict[str, dict[str, Any]]) -> None:
    for found in bootstraps.values():
        assert json.loads(as_envoy_reads_it(found)) == found
        found["static_resources"]["listeners"][0]["adress"] = {}
        with pytest.raises(KeyError, match="adress"):
            as_envoy_reads_it(found)
        del found["static_resources"]["listeners"][0]["adress"]
