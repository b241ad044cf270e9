"""A fleet in service behind a real Envoy, without a control server, and a client to ask it."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from compiler.fleet import Fleet
from tests.envoy.envoy_process import EnvoyProcess, envoy_process, free_port, wait_until
from tests.envoy.static_files import bootstrap_from_files, write_snapshot
from xds.translate import Group, Placement, snapshot


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def upstream(self) -> str:
        """Which upstream answered."""
        return str(self.json["upstream"])

    @property
    def error(self) -> Mapping[str, Any]:
        """The OpenAI-shaped error; a KeyError for any other answer."""
        assert set(self.json) == {"error"}
        assert set(self.json["error"]) == {"message", "type", "param", "code"}
        error: Mapping[str, Any] = self.json["error"]
        return error


@dataclass(frozen=True)
class Served:
    envoy: EnvoyProcess
    port: int

    def request(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """An iterable body is sent in chunks."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            chunked = body is not None and not isinstance(body, bytes)
            connection.request(method, path, body, dict(headers or {}), encode_chunked=chunked)
            return _answer(connection.getresponse())
        finally:
            connection.close()

    def ask(self, body: object, path: str = "/v1/chat/completions", **headers: str) -> Answer:
        """A POST of JSON, or of bytes as they stand. Header names are written with `_` for `-`."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request("POST", path, content, {"content-type": "application/json", **given})

    def change_to(self, fleet: Fleet, group: str = "default") -> None:
        """Serve another fleet. Returns before Envoy has seen it."""
        placement = Placement(port=self.port, address="127.0.0.1")
        write_snapshot(snapshot(fleet, Group(group, placement)), self.envoy.directory)

    def wait_for_health(self, cluster: str, healthy: Iterable[int]) -> None:
        """Until exactly the hosts with these ports are healthy."""
        wanted = set(healthy)

        def seen() -> bool:
            hosts = self.envoy.host_health(cluster)
            return {port for port, flags in hosts.items() if not flags} == wanted

        wait_until(seen, what=f"{cluster}: {wanted} healthy", detail=lambda: self.envoy.get("/clusters"))


@contextmanager
def served(
    fleet: Fleet, directory: Path, group: str = "default", secrets: str | None = None, *, tell_route: bool = False
) -> Iterator[Served]:
    """`fleet` behind an Envoy of `group`, its first listener on `Served.port` of loopback.

    With `tell_route` every answer has the name of its route in the header `x-test-route`.
    """
    port = free_port(following=len(fleet.gateways[0].listeners))
    placement = Placement(port=port, address="127.0.0.1", secrets=secrets)
    bootstrap = bootstrap_from_files(snapshot(fleet, Group(group, placement)), directory, tell_route=tell_route)
    with envoy_process(bootstrap, directory) as envoy:
        yield Served(envoy, port)


def _answer(response: http.client.HTTPResponse) -> Answer:
    try:
        body = response.read()
    except http.client.IncompleteRead as cut:
        body = cut.partial
    return Answer(response.status, {key.lower(): value for key, value in response.getheaders()}, body)
