"""Real Envoys for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.envoy.served import Served, served
from tests.envoy.upstream import upstreams
from tests.xds.translate.fleets import endpoint, fleet, model, orchestrator, version


@pytest.fixture(scope="session")
def two_models(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """`llama-70b`, the default, and `bert-1.5`, also called `bert`; each answered by the upstream of its name."""
    with upstreams("llama-70b", "bert-1.5") as servers:
        models = [
            model(name, (version(endpoints=(endpoint(server.port),)),), aliases=("bert",) if "bert" in name else ())
            for name, server in servers.items()
        ]
        chosen = fleet(*models, orchestrator=orchestrator("auto", ("llama-70b", 100)))
        with served(chosen, tmp_path_factory.mktemp("envoy")) as running:
            running.wait_for_health("llama-70b_1", [servers["llama-70b"].port])
            running.wait_for_health("bert-1-5_1", [servers["bert-1.5"].port])
            yield running
