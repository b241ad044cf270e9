"""Several servers on one policy, and one that has been restarted, say the same: versions, nonces and bytes."""

from __future__ import annotations

import pytest

from tests.features.ads import stream
from tests.features.served import Folder, asynchronous, model, served
from xds.stream.state import Variant

EDITS = (
    model("chat", 9002) + "---\n" + model("embed"),
    model("chat", 9002) + "---\n" + model("embed", 9003) + "---\n" + model("new"),
    model("chat", 9004) + "---\n" + model("new"),
)


async def said(address: str, variant: Variant) -> list[bytes]:
    """All responses of a first sync, in order."""
    async with stream(address, variant) as envoy:
        return [answer.raw for answer in (await envoy.synced()).values()]


@pytest.mark.parametrize("variant", list(Variant))
@asynchronous
async def test_what_a_server_has_seen_before_makes_no_difference(folder: Folder, variant: Variant) -> None:
    async with served(folder.path) as old:
        before = await said(old.xds, variant)
        for text in EDITS:
            digest = (await old.status())["policy"]["digest"]
            folder.write("models", text)
            await old.until(lambda s, digest=digest: s["policy"]["digest"] != digest)
        after = await said(old.xds, variant)
        async with served(folder.path) as young:
            assert await said(young.xds, variant) == after != before
    async with served(folder.path) as restarted:
        assert await said(restarted.xds, variant) == after


@pytest.mark.parametrize("variant", list(Variant))
@asynchronous
async def test_a_change_is_the_same_bytes_from_two_servers(folder: Folder, variant: Variant) -> None:
    async with (
        served(folder.path) as one,
        served(folder.path) as other,
        stream(one.xds, variant) as at_one,
        stream(other.xds, variant) as at_other,
    ):
        await at_one.synced()
        await at_other.synced()
        folder.write("models", EDITS[0])
        assert (await at_one.accepted()).raw == (await at_other.accepted()).raw


@pytest.mark.parametrize("variant", list(Variant))
@asynchronous
async def test_a_policy_that_is_taken_back_is_what_it_was(folder: Folder, variant: Variant) -> None:
    async with served(folder.path) as server:
        first = await said(server.xds, variant)
        digests = [(await server.status())["policy"]["digest"]]
        for names in (("chat", "embed", "new"), ("chat", "embed")):
            folder.models(*names)
            await server.until(lambda s: s["policy"]["digest"] != digests[-1])
            digests.append((await server.status())["policy"]["digest"])
        assert digests[0] == digests[-1]
        assert await said(server.xds, variant) == first
