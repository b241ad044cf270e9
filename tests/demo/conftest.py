"""One model server for the tests that talk to it, and a way to start more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from demo.policies import Instance, Policies
from demo.processes import Processes, free_port
from demo.stack import Stack


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with Processes(tmp_path_factory.mktemp("logs")) as started:
        yield started


@pytest.fixture(scope="module")
def stack(processes: Processes, tmp_path_factory: pytest.TempPathFactory) -> Stack:
    folder = tmp_path_factory.mktemp("policies")
    return Stack(processes, Policies(folder), folder)


@pytest.fixture(scope="module")
def instance(stack: Stack) -> Instance:
    served = Instance("llama-70b", "1.1", "hot", "az-3", "127.0.0.1", free_port())
    stack.start_instances([served])
    return served


@pytest.fixture(scope="module")
def url(instance: Instance) -> str:
    return f"http://{instance.address}:{instance.port}"
