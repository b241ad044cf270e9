"""Of a route table that is refused, the route that is to blame."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from compiler.diagnostics import Position
from tests.xds.soundness.spoiling import changed
from tests.xds.translate.fleets import fleet, model, orchestrator, seconds, version
from xds.snapshot import Resource, ResourceType, resource
from xds.stream.culprits import culprit
from xds.stream.refusals import refusal
from xds.stream.subscription import Refusal
from xds.translate import Group, snapshot

ROUTE = ResourceType.ROUTE
CHAT, EMBED = Position("policies/chat.yaml", 3, 18), Position("policies/embed.yaml", 3, 18)


def table(*changes: Any, **of_chat: Any) -> Resource:
    models = (model("chat", origin=CHAT, aliases=("c",), **of_chat), model("embed", origin=EMBED, **dict(changes)))
    made = snapshot(fleet(*models, orchestrator=orchestrator("auto", ("chat", 100))), Group("default"))
    return made[ROUTE]["default"]


def slower() -> Any:
    return replace(model("x").timeouts, unary_total=seconds(7))


def test_the_route_that_has_changed_is_to_blame_and_a_model_rather_than_who_chooses_it() -> None:
    assert culprit(table(timeouts=slower()), table()) == ("model/chat", CHAT)
    assert culprit(table(("timeouts", slower())), table()) == ("model/embed", EMBED)


def test_a_new_model_is_to_blame() -> None:
    fewer = snapshot(fleet(model("chat", origin=CHAT, aliases=("c",))), Group("default"))[ROUTE]["default"]
    more = snapshot(fleet(model("chat", origin=CHAT, aliases=("c",)), model("embed", origin=EMBED)), Group("default"))
    assert culprit(more[ROUTE]["default"], fewer) == ("model/embed", EMBED)


def test_of_several_none_is_to_blame() -> None:
    assert culprit(table(("timeouts", slower()), timeouts=slower()), table()) is None


def test_without_the_table_before_nobody_knows() -> None:
    assert culprit(table(timeouts=slower()), None) is None
    assert culprit(table(timeouts=slower()), resource("default", b"", CHAT)) is None


def test_what_is_no_route_is_not_a_routes_fault() -> None:
    made = snapshot(fleet(model("chat", (version(),), origin=CHAT)), Group("default"))

    def domain(found: Any) -> None:
        found.virtual_hosts[0].domains.append("b.example")

    assert culprit(changed(made, ROUTE, "default", domain)[ROUTE]["default"], made[ROUTE]["default"]) is None


def test_the_words_name_the_route_its_line_and_the_commit() -> None:
    found = refusal("gateway-7", ROUTE, Refusal(table(timeouts=slower()), "no", table()), "0c5d91ab44e0")
    assert (found.position, found.code) == (CHAT, "X101")
    assert found.message == "envoy gateway-7 refused route 'model/chat': no · commit 0c5d91ab44e0"
