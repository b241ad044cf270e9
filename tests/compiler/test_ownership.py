"""One writer for each field of each object, and Argo CD leaves to others exactly what is theirs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from compiler.diagnostics import Position
from compiler.emit import EMITTERS, argocd, kubernetes
from compiler.emit.object import Handover, Object, Owner, Wave, Writer, metadata
from compiler.fleet import Argocd, Platform
from compiler.kept import Kept
from compiler.ownership import conflicts, ledger, ledger_text, line
from compiler.render import rendered_files
from tests.compiler.emit.fleets import rich_fleet
from tests.manifests.schemas import validate

MODEL = Position("policies/models.yaml", 3, 18)
SCALING = Position("policies/models.yaml", 9, 5)
STANDBY = Position("policies/recovery.yaml", 7, 7)
HPA = Handover("/spec/replicas", Writer.AUTOSCALER, "kube-controller-manager", SCALING)
PROMOTION = Handover("/spec/replicas", Writer.STANDBY, "turnout-standby", STANDBY)
FLAGGER = Handover("/spec/replicas", Writer.FLAGGER, "flagger", SCALING)

PLATFORM = Platform(
    argocd=Argocd(
        repo_url="https://git.example.com/policy.git",
        target_revision="main",
        path="rendered",
        project="turnout",
        namespace="argocd",
        server="https://kubernetes.default.svc",
        origin=Position("policies/platform.yaml", 20, 3),
    )
)


def deployment(*handovers: Handover, name: str = "chat-1", namespace: str | None = "serving", **spec: Any) -> Object:
    named = metadata(name, Owner("chat", namespace, (), ()), MODEL, Wave.WORKLOAD)
    body = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": named, "spec": spec}
    return Object("models/chat.yaml", body, MODEL, handovers)


def said(*objects: Object) -> list[str]:
    return [f"{found.position}: {found.code} {found.message}" for found in conflicts(objects)]


def test_one_writer_for_a_field_is_right() -> None:
    begins = Handover("/spec/replicas", Writer.STANDBY, "turnout-standby", STANDBY, initial=True)
    assert said(deployment(HPA), deployment(replicas=3, name="b"), deployment(begins, replicas=0, name="c")) == []


@pytest.mark.parametrize(
    ("handovers", "spec", "who", "places"),
    [
        ((HPA,), {"replicas": 3}, "git and autoscaler", "policies/models.yaml:3, policies/models.yaml:9"),
        ((PROMOTION,), {"replicas": 0}, "git and standby", "policies/models.yaml:3, policies/recovery.yaml:7"),
        ((HPA, PROMOTION), {}, "autoscaler and standby", "policies/models.yaml:9, policies/recovery.yaml:7"),
        ((FLAGGER, HPA), {}, "flagger and autoscaler", "policies/models.yaml:9, policies/models.yaml:9"),
    ],
)
def test_two_writers_are_told_with_both_lines(
    handovers: tuple[Handover, ...], spec: dict[str, int], who: str, places: str
) -> None:
    (found,) = said(deployment(*handovers, **spec))
    assert found.endswith(f"P450 apps/v1/Deployment/serving/chat-1/spec/replicas is written by {who} ({places})")


def test_a_field_deep_in_an_object_is_found_as_json_pointers_say() -> None:
    label = Handover("/spec/template/metadata/labels/example.com~1team", Writer.TURNOUT, "turnout", STANDBY)
    item = Handover("/spec/items/1/x", Writer.TURNOUT, "turnout", STANDBY)
    template = {"metadata": {"labels": {"example.com/team": "chat"}}}
    assert len(said(deployment(label, template=template))) == 1
    assert said(deployment(label, template={"metadata": {"labels": {"example.com": "chat"}}})) == []
    assert len(said(deployment(item, items=[{}, {"x": None}]))) == 1
    assert said(deployment(item, items=[{"x": 1}])) == []


def test_the_ledger_has_a_line_for_each_field_that_git_does_not_write() -> None:
    text = ledger_text(
        map(line, ledger((deployment(PROMOTION, name="b"), deployment(HPA, name="a"), deployment(name="c"))))
    )
    assert text.count("\n") == 4
    assert json.loads(text) == [
        {
            "object": "apps/v1/Deployment/serving/a",
            "field": "/spec/replicas",
            "writer": "autoscaler",
            "manager": "kube-controller-manager",
            "origin": "policies/models.yaml:9",
        },
        {
            "object": "apps/v1/Deployment/serving/b",
            "field": "/spec/replicas",
            "writer": "standby",
            "manager": "turnout-standby",
            "origin": "policies/recovery.yaml:7",
        },
    ]
    assert json.loads(ledger_text(())) == []


def test_whoever_writes_a_map_writes_what_is_in_it() -> None:
    spec = Handover("/spec", Writer.FLAGGER, "flagger", STANDBY)
    near = Handover("/spec/replicasOfOthers", Writer.TURNOUT, "turnout", STANDBY)
    (found,) = said(deployment(HPA, spec))[:1]
    assert "chat-1/spec/replicas is written by autoscaler and flagger (" in found
    assert said(deployment(HPA, near)) == []


def test_the_order_of_objects_decides_nothing_of_the_ledger() -> None:
    one, other = deployment(HPA, name="b"), deployment(PROMOTION, name="a")._replace(file="models/a.yaml")
    files = [rendered_files(objects)["ownership.json"] for objects in ((one, other), (other, one))]
    assert files[0] == files[1]
    assert [row["object"][-1] for row in json.loads(files[0])] == ["a", "b"]


fields = st.sampled_from(("/spec/replicas", "/spec/template/spec/nodeName", "/metadata/labels/a~1b"))
handovers = st.builds(Handover, fields, st.sampled_from(Writer), st.just("manager"), st.just(SCALING))
made = st.lists(
    st.builds(
        lambda name, namespace, those: deployment(*those, name=name, namespace=namespace),
        st.from_regex(r"[a-z]{1,3}", fullmatch=True),
        st.sampled_from(("serving", "bank", None)),
        st.lists(handovers, max_size=3, unique_by=lambda handover: handover.field),
    ),
    max_size=8,
    unique_by=lambda item: item.key,
)


@settings(deadline=None)
@given(objects=made)
def test_what_argocd_ignores_is_the_ledger_and_what_it_may_touch_is_what_is_rendered(objects: list[Object]) -> None:
    found = argocd.objects(PLATFORM, "", objects, Kept())
    assert [complaint for item in found for complaint in validate(item.body)] == []
    bodies = {(item.body["kind"], item.body["metadata"]["name"]): item.body["spec"] for item in found}
    ignored = [
        ("/".join(filter(None, (e["group"], e["kind"], e.get("namespace"), e["name"]))), pointer)
        for e in bodies["Application", "turnout"].get("ignoreDifferences", ())
        for pointer in e["jsonPointers"]
    ]
    assert sorted(ignored) == [(row.object.replace("apps/v1", "apps"), row.handover.field) for row in ledger(objects)]
    project = bodies["AppProject", "turnout"]
    spaces = {item.body["metadata"].get("namespace") for item in objects}
    assert {d["namespace"] for d in project["destinations"]} == spaces - {None}
    assert bool(project["clusterResourceWhitelist"]) == (None in spaces)
    assert bool(project["namespaceResourceWhitelist"]) == bool(spaces - {None})


def test_no_two_write_a_field_of_a_fleet_with_some_of_everything() -> None:
    made = [item for emitter in EMITTERS for item in emitter.objects(rich_fleet(), Kept())]
    writers = {row.handover.writer for row in ledger(made)}
    assert writers >= {Writer.AUTOSCALER, Writer.STANDBY, Writer.FLAGGER}
    assert said(*made) == []


def test_a_check_looks_at_every_object_that_hands_a_field_over(monkeypatch: pytest.MonkeyPatch) -> None:
    fleet = rich_fleet()
    made = [item for emitter in EMITTERS for item in emitter.objects(fleet, Kept())]
    looked_at = [item.key for model in fleet.models for item in kubernetes.handing_over(model)]
    assert looked_at
    assert sorted(looked_at) == sorted(item.key for item in made if item.handovers)
    monkeypatch.setattr(kubernetes, "_handovers", lambda *_: (HPA, PROMOTION))
    told = {d.message.split(" is")[0] for d in kubernetes.diagnostics(fleet, Kept()) if d.code == "P450"}
    assert told >= {
        f"{item.key}/spec/replicas" for item in made if item.handovers and item.handovers[0].writer != "flagger"
    }


def test_the_committed_project_allows_what_is_rendered_and_the_application_leaves_the_ledger_alone() -> None:
    rendered = Path(__file__).parents[2] / "rendered"
    specs = {
        (item["kind"], item["metadata"]["name"]): item["spec"]
        for file in (rendered / "argocd").glob("app*.yaml")
        for item in yaml.safe_load_all(file.read_text())
    }
    keys = [row["object"].split("/") for row in json.loads((rendered / "index.json").read_text())]
    objects = [Named(*key) for key in map(group_first, keys) if key[1] not in ("AppProject", "Application")]
    project = specs["AppProject", "turnout"]
    for listed, wanted in (
        ([d["namespace"] for d in project["destinations"]], {o.namespace for o in objects if o.namespace}),
        (kinds(project["clusterResourceWhitelist"]), {(o.group, o.kind) for o in objects if not o.namespace}),
        (kinds(project["namespaceResourceWhitelist"]), {(o.group, o.kind) for o in objects if o.namespace}),
    ):
        assert listed == sorted(wanted)
    ledgered = [
        (*group_first(row["object"].split("/")), row["field"])
        for row in json.loads((rendered / "ownership.json").read_text())
    ]
    ignored = [
        (each.get("group", ""), each["kind"], each.get("namespace", ""), each["name"], pointer)
        for each in specs["Application", "turnout"]["ignoreDifferences"]
        for pointer in each["jsonPointers"]
    ]
    assert ledgered
    assert ignored == ledgered


class Named(NamedTuple):
    group: str
    kind: str
    namespace: str
    name: str


def group_first(key: list[str]) -> tuple[str, str, str, str]:
    """Of the parts of an object's key: `apps/v1/Deployment/serving/chat-1`, `v1/Namespace/serving`."""
    version = next(at for at, part in enumerate(key) if re.fullmatch(r"v[0-9]+((alpha|beta)[0-9]+)?", part))
    kind, *rest = key[version + 1 :]
    return "/".join(key[:version]), kind, rest[0] if len(rest) == 2 else "", rest[-1]


def kinds(allowed: list[dict[str, str]]) -> list[tuple[str, str]]:
    return [(each["group"], each["kind"]) for each in allowed]


def test_a_sync_waits_for_what_it_changes_and_leaves_to_others_what_is_theirs() -> None:
    for made in argocd.objects(PLATFORM, "", (deployment(HPA),), Kept()):
        if made.body["kind"] == "Application":
            options = made.body["spec"]["syncPolicy"]["syncOptions"]
            assert {"ServerSideApply=true", "RespectIgnoreDifferences=true", "ApplyOutOfSyncOnly=true"} <= {*options}


def test_an_environment_has_applications_of_its_own() -> None:
    found = argocd.objects(PLATFORM, "staging", (deployment(),), Kept())
    applications = {o.body["metadata"]["name"]: o.body["spec"] for o in found if o.body["kind"] == "Application"}
    assert {name: spec["source"]["path"] for name, spec in applications.items()} == {
        "turnout-staging": "rendered/staging",
        "turnout-staging-argocd": "rendered/staging/argocd",
    }
    assert argocd.objects(Platform(), "", (deployment(),), Kept()) == ()
