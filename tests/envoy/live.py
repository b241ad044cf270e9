"""A scratch fleet in service: model servers, the control server and one real Envoy, for as long as a test runs."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from demo.policies import Instance, Policies, scratch_copy
from demo.processes import Process, Processes, poll
from demo.stack import Control, Envoy, Stack, fetch, turnout

SOURCE = Path(__file__).parent.parent / "golden" / "live" / "policies"


@dataclass(frozen=True)
class Live:
    stack: Stack
    policies: Policies
    control: Control
    envoy: Envoy
    servers: dict[Instance, Process]
    token: Path
    """The file with the control server's token."""

    def live_weights(self, *words: str) -> str:
        """What `turnout weights` says. Raises NotReadyError when it is refused."""
        return turnout("weights", *words, "--admin", self.control.url, "--token-file", str(self.token))

    def wait_for_live_weights(self, **weights: int) -> None:
        """Until Envoy's runtime has these keys for splits and no others, in 1/10,000, by cluster."""
        there = poll(lambda: self.runtime() == weights, 20)
        assert there, f"{self.runtime()}\n{self.control.process.last_words()}"

    def runtime(self) -> dict[str, int]:
        entries = json.loads(fetch(f"{self.envoy.admin}/runtime"))["entries"]
        return {k.rpartition(".")[2]: int(e["final_value"]) for k, e in entries.items() if k.startswith("split.")}

    def instances(self, model: str, tier: str | None = None) -> list[Instance]:
        return [i for i in self.servers if i.model == model and tier in (None, i.tier)]

    def status(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(fetch(f"{self.control.url}/status"))
        return found

    def wait_for_edit(self, before: str) -> None:
        """Until policies with another digest than `before` are served, and Envoy has accepted all of them."""

        def landed() -> bool:
            status = self.status()
            return status["policy"]["digest"] != before and all(envoy["synced"] for envoy in status["envoys"])

        assert poll(landed, 20), f"{self.status()}\n{self.control.process.last_words()}"

    def weights(self) -> dict[str, int]:
        """Of the clusters of every split in the route table that Envoy has now."""
        dump = json.loads(fetch(f"{self.envoy.admin}/config_dump?resource=dynamic_route_configs"))
        return {
            cluster["name"]: cluster.get("weight", 0)
            for split in _values(dump, "weighted_clusters")
            for cluster in split["clusters"]
        }

    def wait_for_weights(self, **weights: int) -> None:
        """Until Envoy's route table has these, in 1/10,000, by cluster."""
        there = poll(lambda: weights.items() <= self.weights().items(), 20)
        assert there, f"{self.weights()}\n{self.control.process.last_words()}"


@contextmanager
def live(work: Path, variant: str, *manners: str) -> Iterator[Live]:
    """`variant` is delta or sotw; `manners` are options of every model server: `--answer-time`, `5ms`."""
    policies = scratch_copy(SOURCE, work / "policies")
    logs = work / "logs"
    logs.mkdir()
    with Processes(logs) as processes:
        stack = Stack(processes, policies, work)
        servers = stack.start_instances(policies.instances(), *manners)
        token = work / "token"
        token.write_text("for-tests-only\n")
        token.chmod(0o600)
        control = stack.start_control("--admin-token-file", str(token))
        envoy = stack.start_envoy(control, "--variant", variant)
        stack.wait_for_healthy(envoy, servers)
        yield Live(stack, policies, control, envoy, servers, token)


def within_four_sigma(seen: int, total: int, percent: int) -> bool:
    """Whether `seen` of `total` may be a share of `percent`: fails one time in 16,000 when it is."""
    share = percent / 100
    return abs(seen - total * share) <= 4 * math.sqrt(total * share * (1 - share))


def _values(tree: object, key: str) -> Iterator[dict[str, list[dict[str, int]]]]:
    """Every value of `key`, however deep."""
    if isinstance(tree, dict):
        for name, value in tree.items():
            if name == key:
                yield value
            yield from _values(value, key)
    elif isinstance(tree, list):
        for item in tree:
            yield from _values(item, key)
