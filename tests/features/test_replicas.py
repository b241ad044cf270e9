"""Replicas, and a server after its restart, say the same, byte for byte."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from demo.policies import save
from demo.processes import Processes, free_port, poll
from demo.stack import STARTED, answers, fetch
from tests.features.ads import CLUSTER, ENDPOINT, LISTENER, RUNTIME, Answer, Stream, stream
from tests.features.served import DEADLINE, Folder, Served, asynchronous, model, served
from xds.snapshot import ResourceType
from xds.stream.state import Variant

both = pytest.mark.parametrize("variant", list(Variant))
GATEWAY = "apiVersion: turnout.dev/v1\nkind: Gateway\nmetadata: {name: default}\nspec: {maxRequestBytes: %dMi}\n"
POOL = "  traffic: {connectionPool: {connectTimeout: 7s}}\n"
ALIAS = "  aliases: [talk]\n"
FIRST, SECOND, THIRD, LAST = (
    (model("chat", 9005, 9006), model("embed")),
    (model("chat", 9006, tail=ALIAS), model("embed", tail=POOL), model("new")),
    (model("new", 9001, 9002, 9003), model("embed", tail=POOL), GATEWAY % 8),
    (model("new", 9002, tail=POOL), model("chat"), GATEWAY % 9),
)
SAMPLE = Path(__file__).parent.parent.parent / "policies"
SEEDS = ("0", "1", "4711")


@pytest.fixture
def other_folder(tmp_path: Path) -> Folder:
    """Somewhere else, with the same in it as in `folder`."""
    made = Folder(tmp_path / "elsewhere")
    made.models("chat", "embed")
    return made


async def edit(server: Served, folder: Folder, texts: Sequence[str]) -> None:
    """Returns when it is served."""
    before = (await server.status())["policy"]["digest"]
    folder.write("models", "---\n".join(texts))
    await server.until(lambda s: s["policy"]["state"] == "ok" and s["policy"]["digest"] != before)


async def first_sync(envoy: Stream) -> list[bytes]:
    return [answer.raw for answer in (await envoy.synced()).values()]


async def follow(envoy: Stream) -> list[bytes]:
    """All that the server has to say, to an Envoy that hears it out before it answers."""
    said: list[bytes] = []
    while found := await heard(envoy):
        said += [answer.raw for answer in found]
        for answer in found:
            if answer.type is CLUSTER and answer.names - envoy.names[ENDPOINT]:
                await envoy.ask(ENDPOINT, *sorted(answer.names - envoy.names[ENDPOINT]))
            await envoy.accept(answer)
    return said


async def heard(envoy: Stream) -> list[Answer]:
    """What comes between two runtime layers, which go before everything else."""
    found = []
    for _ in range(2):
        await envoy.drop(RUNTIME, "turnout")
        await envoy.ask(RUNTIME, "turnout")
        while (answer := await envoy.read()).type is not RUNTIME:
            found.append(answer)
        await envoy.accept(answer)
    return found


@both
@asynchronous
async def test_two_servers_say_the_same_through_the_same_edits(
    folder: Folder, other_folder: Folder, variant: Variant
) -> None:
    conversations = []
    for place in (folder, other_folder):
        async with served(place.path) as server, stream(server.xds, variant) as envoy:
            said = await first_sync(envoy)
            for texts in (FIRST, SECOND, THIRD, LAST):
                await edit(server, place, texts)
                heard_of_it = await follow(envoy)
                assert heard_of_it
                said += heard_of_it
            conversations.append(said)
    assert conversations[0] == conversations[1]


@both
@asynchronous
async def test_what_a_server_has_seen_before_makes_no_difference(
    folder: Folder, other_folder: Folder, variant: Variant
) -> None:
    conversations = []
    for place, history in ((folder, (FIRST, SECOND, THIRD)), (other_folder, (SECOND, LAST, FIRST, THIRD))):
        async with served(place.path) as server:
            for texts in history:
                await edit(server, place, texts)
            async with stream(server.xds, variant) as envoy:
                said = await first_sync(envoy)
                await edit(server, place, LAST)
                conversations.append(said + await follow(envoy))
    assert conversations[0] == conversations[1]


@both
@asynchronous
async def test_a_server_that_was_restarted_goes_on_where_the_other_is(folder: Folder, variant: Variant) -> None:
    """An Envoy that comes back from the one to the other is sent the same as by the one, and nothing unchanged."""
    async with AsyncExitStack() as stack:
        old = await stack.enter_async_context(served(folder.path))
        async with stream(old.xds, variant) as envoy:
            await envoy.synced()
            await edit(old, folder, FIRST)
            await follow(envoy)
        async with stream(old.xds, variant) as envoy:
            before = await envoy.synced()
        restarted = await stack.enter_async_context(served(folder.path))
        await restarted.until(lambda s: s["policy"]["state"] == "ok")
        said = []
        for server in (old, restarted):
            envoy = await stack.enter_async_context(stream(server.xds, variant))
            said.append(await returned(envoy, before))
        assert said[0] == said[1]
        assert len(said[0]) == (0 if variant is Variant.DELTA else 2)


async def returned(envoy: Stream, before: dict[ResourceType, Answer]) -> list[Answer]:
    """What an Envoy is told that has all of `before`. State of the world answers what is asked for by name."""
    for type_ in (RUNTIME, CLUSTER, ENDPOINT, LISTENER, ResourceType.ROUTE):
        names = () if type_ in (CLUSTER, LISTENER) else sorted(before[type_].names)
        await envoy.ask(type_, *names, version=before[type_].version, versions=before[type_].versions)
    found = list[Answer]()
    missing = set() if envoy.variant is Variant.DELTA else {RUNTIME, ENDPOINT, ResourceType.ROUTE}
    while missing:
        found.append(await envoy.read())
        missing.remove(found[-1].type)
    return [answer for answer in found if answer.type is not RUNTIME] + await heard(envoy)


@asynchronous
async def test_neither_the_process_nor_its_hash_seed_nor_what_it_has_seen_makes_a_difference(tmp_path: Path) -> None:
    """Servers within one process might agree by what they share."""
    policies = shutil.copytree(SAMPLE, tmp_path / "policies")
    said = []
    with Processes(tmp_path) as processes:
        for number, seed in enumerate(SEEDS):
            xds, admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
            command = (sys.executable, "-m", "xds.cli", "serve", policies, "--listen", xds, "--admin", admin)
            process = processes.start(f"seed-{seed}", command, {"PYTHONHASHSEED": seed})
            process.wait_until(partial(answers, f"http://{admin}/readyz"), STARTED, "serving")
            for port in range(9101, 9101 + number):
                guests(admin, policies, port)
            guests(admin, policies, None)
            said.append([await told(xds, variant, admin, policies) for variant in Variant])
    assert said[0] == said[1] == said[2]


async def told(xds: str, variant: Variant, admin: str, policies: Path) -> list[bytes]:
    """What a gateway and a sidecar are told at first, and when some models come, change and go."""
    async with stream(xds, variant, cluster="public") as gateway, stream(xds, variant, cluster="sidecar") as sidecar:
        said = await first_sync(gateway) + await first_sync(sidecar)
        for port in (9001, 9002, None):
            guests(admin, policies, port)
            said += await follow(gateway) + await follow(sidecar)
    return said


def guests(admin: str, policies: Path, port: int | None) -> None:
    """Six models more, their instances from `port` on, or none. Returns when they are served."""
    file = policies / "guests.yaml"
    if port is not None:
        needs = "  pool: shared\n  resources: {gpuCount: 0, cpu: 1, memory: 1Gi}\n"
        save(file, "---\n".join(model(f"guest-{n}", port + n, tail=needs) for n in range(6)))
    else:
        file.unlink(missing_ok=True)
    assert poll(lambda: _port_of_guest(admin) == port, DEADLINE)


def _port_of_guest(admin: str) -> int | None:
    models = {model["name"]: model for model in json.loads(fetch(f"http://{admin}/status"))["models"]}
    return models["guest-0"]["versions"][0]["endpoints"][0]["port"] if "guest-0" in models else None
