"""Sidecars of tenants over real gRPC: each has the models that are nobody's and its own, and no other's."""

from __future__ import annotations

import json

import grpc
import pytest

from tests.features.ads import CLUSTER, ENDPOINT, LISTENER, ROUTE, Answer, stream
from tests.features.served import Folder, asynchronous, cluster, model, served
from xds.snapshot import ResourceType
from xds.stream.state import Variant

both = pytest.mark.parametrize("variant", list(Variant))
CHAT, EMBED, FRAUD, OCR = (cluster(name) for name in ("chat", "embed", "fraud", "ocr"))


def tenant(name: str) -> str:
    return f"apiVersion: turnout.dev/v1\nkind: Tenant\nmetadata: {{name: {name}}}\n"


def owned(name: str, of: str, *ports: int) -> str:
    return model(name, *ports, tail=f"  tenant: {of}\n")


def tenants(folder: Folder, *more: str) -> None:
    """A bank and a shop, beside the models that are there."""
    folder.write("tenants", "---\n".join((tenant("bank"), tenant("shop"), *more)))


def said(found: dict[ResourceType, Answer]) -> dict[ResourceType, dict[str, str]]:
    return {type_: dict(answer.versions) for type_, answer in found.items()}


@both
@asynchronous
async def test_a_sidecar_has_what_is_its_tenant_s_and_what_is_nobody_s(folder: Folder, variant: Variant) -> None:
    tenants(folder, owned("fraud", "bank"))
    async with served(folder.path) as server:
        seen = {}
        for group in ("sidecar", "sidecar.bank", "sidecar.shop", "default"):
            async with stream(server.xds, variant, cluster=group) as envoy:
                seen[group] = await envoy.synced()
        assert seen["sidecar"][CLUSTER].names == seen["sidecar"][ENDPOINT].names == {CHAT, EMBED}
        assert seen["sidecar.bank"][CLUSTER].names == seen["sidecar.bank"][ENDPOINT].names == {CHAT, EMBED, FRAUD}
        assert seen["default"][CLUSTER].names == {CHAT, EMBED, FRAUD}
        assert seen["sidecar.bank"][LISTENER].names == seen["sidecar"][LISTENER].names == {"sidecar-15080"}
        assert {type_: a.version for type_, a in seen["sidecar.shop"].items()} == {
            type_: a.version for type_, a in seen["sidecar"].items()
        }
        assert said(seen["sidecar.shop"]) == said(seen["sidecar"])


@both
@asynchronous
async def test_sidecars_of_a_tenant_that_nobody_knows_are_refused(folder: Folder, variant: Variant) -> None:
    tenants(folder, owned("fraud", "bank"))
    async with served(folder.path) as server:
        await server.until(lambda s: s["policy"]["state"] == "ok")
        for group in ("sidecar.bnak", "sidecar.", "sidecar.fraud", "bank"):
            async with stream(server.xds, variant, cluster=group) as envoy:
                await envoy.ask(CLUSTER)
                assert await envoy.ended() == (
                    grpc.StatusCode.PERMISSION_DENIED,
                    f"X105 node gw-1: group '{group}' is unknown",
                )


@both
@asynchronous
async def test_a_tenant_s_models_come_and_go_with_its_sidecars_alone(folder: Folder, variant: Variant) -> None:
    tenants(folder)
    async with (
        served(folder.path) as server,
        stream(server.xds, variant, "bank", cluster="sidecar.bank") as bank,
        stream(server.xds, variant, "shop", cluster="sidecar.shop") as shop,
    ):
        assert (await bank.synced())[CLUSTER].names == (await shop.synced())[CLUSTER].names == {CHAT, EMBED}
        tenants(folder, owned("fraud", "bank"))
        answer = await bank.accepted()
        assert answer.type is CLUSTER
        assert FRAUD in answer.names
        while answer.type is not ROUTE:
            answer = await bank.accepted()
        tenants(folder, owned("fraud", "bank"), owned("ocr", "shop"))
        answer = await shop.accepted()
        assert OCR in answer.names
        assert FRAUD not in answer.names
        await server.until(lambda s: all(envoy["node"] != "bank" or envoy["synced"] for envoy in s["envoys"]))


@asynchronous
async def test_what_a_tenant_s_sidecars_have_can_be_looked_at(folder: Folder) -> None:
    tenants(folder, owned("fraud", "bank"))
    async with served(folder.path) as server:
        await server.until(lambda s: s["policy"]["state"] == "ok")
        for group, has in (("sidecar.bank", True), ("sidecar.shop", False), ("sidecar", False)):
            status, text = await server.get(f"/config_dump?group={group}")
            assert (status, FRAUD in text) == (200, has)
        status, text = await server.get("/config_dump?group=sidecar.nobody")
        assert status == 404
        assert json.loads(text)["error"] == "no group 'sidecar.nobody'"
