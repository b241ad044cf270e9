"""In which order a change is told to be safe."""

from __future__ import annotations

from pathlib import Path

import pytest

from compiler.diff.changes import Side, changes
from compiler.diff.steps import Step
from compiler.pipeline import compile_policies, objects
from tests.compiler.policies import document, model

ENVOY = ""
ISTIO = document("Platform", "platform", "dataPlane: {default: istio}")


def side(folder: Path, documents: tuple[str, ...]) -> Side:
    root = folder / "policies"
    root.mkdir(parents=True)
    (root / "all.yaml").write_text("---\n".join(filter(None, documents)))
    compiled = compile_policies(root)
    assert compiled.fleet is not None, compiled.diagnostics
    return Side(compiled.fleet, objects(compiled.fleet, "", compiled.kept))


def steps(folder: Path, before: tuple[str, ...], after: tuple[str, ...]) -> tuple[Step, ...]:
    return changes(side(folder / "before", before), side(folder / "after", after)).steps


def versions(first: str, second: str = "") -> str:
    return model("chat", f"versions: [{', '.join(filter(None, (first, second)))}]")


ONE = versions("{name: '1', weight: 100, replicas: 2}")
BOTH = versions("{name: '1', weight: 60, replicas: 2}", "{name: '2', weight: 40, replicas: 3}")


def test_a_version_that_takes_requests_at_once_is_committed_without_them_first(tmp_path: Path) -> None:
    found = steps(tmp_path, (ONE,), (BOTH,))
    assert [(step.commit, step.by) for step in found] == [
        (1, "you"),
        (1, "Argo CD"),
        (2, "you"),
        (2, "the control server"),
    ]
    assert found[0].what == "commit chat 2 without requests, and wait until its 3 instances are ready (up to 5m)"


def test_where_argo_cd_has_both_in_hand_it_keeps_the_order_itself(tmp_path: Path) -> None:
    found = steps(tmp_path, (ISTIO, ONE), (ISTIO, BOTH))
    assert {step.commit for step in found} == {1}
    assert {str(step.by) for step in found} == {"Argo CD"}
    assert [step.why.split(",")[0] for step in found] == sorted(step.why.split(",")[0] for step in found)


def scaled(least: int) -> str:
    second = f"{{name: '2', weight: 40, autoscaling: {{minReplicas: {least}, maxReplicas: 6}}}}"
    return versions("{name: '1', weight: 60, replicas: 2}", second)


def test_requests_wait_for_what_an_autoscaler_starts_as_that_comes_after_routes(tmp_path: Path) -> None:
    platform = document("Platform", "platform", "{dataPlane: {default: istio}, prometheus: {address: 'http://p:9090'}}")
    found = steps(tmp_path / "three", (platform, ONE), (platform, scaled(3)))
    assert found[0].what == "commit chat 2 without requests, and wait until its 3 instances are ready (up to 5m)"
    assert found[-1].commit == 2
    waves = [step.why.split(",")[0] for step in found if "HorizontalPodAutoscaler" in step.what]
    assert waves == ["wave 3"]
    # The one that a Deployment begins with is waited for.
    assert {step.commit for step in steps(tmp_path / "one", (platform, ONE), (platform, scaled(1)))} == {1}


def test_a_version_that_is_there_may_get_requests_in_one_commit(tmp_path: Path) -> None:
    there = versions("{name: '1', weight: 100, replicas: 2}", "{name: '2', weight: 0, replicas: 3}")
    assert [(step.commit, step.by) for step in steps(tmp_path, (there,), (BOTH,))] == [(1, "the control server")]


def test_more_requests_wait_for_more_instances(tmp_path: Path) -> None:
    before = versions("{name: '1', weight: 90, replicas: 2}", "{name: '2', weight: 10, replicas: 1}")
    (first, *others) = steps(tmp_path, (before,), (BOTH,))
    assert first.what == "commit 3 instances of chat 2 in place of 1, and wait until all are ready (up to 5m)"
    assert others[-1].commit == 2


@pytest.mark.parametrize("platform", [ENVOY, ISTIO])
def test_fewer_instances_wait_until_requests_have_gone(platform: str, tmp_path: Path) -> None:
    after = versions("{name: '1', weight: 100, replicas: 2}", "{name: '2', weight: 0, replicas: 1}")
    found = steps(tmp_path, (platform, BOTH), (platform, after))
    assert found[-1].commit == 2
    assert "take chat 2 from 3 to 1 active instances" in [step.what for step in found if step.commit == 2]


def test_a_version_without_requests_is_removed_in_one_commit(tmp_path: Path) -> None:
    before = versions("{name: '1', weight: 100, replicas: 2}", "{name: '2', weight: 0, replicas: 3}")
    found = steps(tmp_path, (before,), (ONE,))
    assert {step.commit for step in found} == {1}
    assert found[-1].what == "removes Deployment, PodDisruptionBudget, Service"


def test_a_model_with_requests_goes_after_them(tmp_path: Path) -> None:
    other = model("other")
    found = steps(tmp_path, (ONE, other), (other,))
    assert [step.what for step in found if step.commit == 2][:2] == [
        "see that nobody asks for chat any more before it goes",
        "remove chat 1 when its last request has been answered",
    ]


def test_a_model_that_another_takes_the_place_of_is_told_one_thing_for_each_commit(tmp_path: Path) -> None:
    before, after = (model(name, "aliases: [assistant]\nreplicas: 2") for name in ("old", "new"))
    mine = [step for step in steps(tmp_path, (before,), (after,)) if step.by == "you"]
    assert [(step.commit, step.what) for step in mine[:2]] == [
        (1, "commit new 1 without requests, and wait until its 2 instances are ready (up to 5m)"),
        (2, "when that is ready, commit all but what stands under commit 3"),
    ]
    assert {step.commit for step in mine[2:]} == {3}


def test_pods_that_are_made_anew_are_told(tmp_path: Path) -> None:
    found = steps(tmp_path, (ONE,), (ONE.replace("spec:\n", "spec:\n  modelPath: s3://models/other\n"),))
    assert "restarts the pods of chat-1" in [step.what for step in found]


def at(*hosts: str) -> str:
    return document("Gateway", "public", f"hosts: [{', '.join(f'{host}.example.com' for host in hosts)}]")


def test_a_host_that_takes_the_place_of_another_is_there_before_that_goes(tmp_path: Path) -> None:
    found = [(step.commit, step.what) for step in steps(tmp_path, (ONE, at("old")), (ONE, at("new")))]
    assert found == [
        (1, "commit all but what stands under commit 2"),
        (1, "sends the change to Turnout's own Envoys"),
        (1, "lead clients to new.example.com when its gateway is there"),
        (2, "lead clients away from old.example.com before it goes"),
    ]


def test_clients_leave_a_host_before_anything_is_applied(tmp_path: Path) -> None:
    found = steps(tmp_path, (ISTIO, ONE, at("old", "other")), (ISTIO, ONE, at("other")))
    assert {step.commit for step in found} == {1}
    assert found[0].what == "lead clients away from old.example.com before it goes"
    assert len(found) > 1


def test_clients_of_a_host_that_another_carries_have_to_move(tmp_path: Path) -> None:
    found = steps(tmp_path, (ISTIO, ONE, at("old")), (ONE, at("old")))
    what = [step.what for step in found]
    moved = what.index("lead clients of old.example.com from Istio's gateway to Turnout's own Envoys at once")
    assert what.index("sends the change to Turnout's own Envoys") < moved
    assert moved < next(n for n, words in enumerate(what) if words.startswith("removes "))


ENDPOINT = "endpoints: [{address: 10.0.0.1, port: 8000}]"


@pytest.mark.parametrize(
    "setting",
    [
        f"{ENDPOINT}\ntraffic: {{loadBalancing: {{strategy: round_robin}}}}",
        f"{ENDPOINT}\ntraffic: {{outlierDetection: {{baseEjectionTime: 77s}}}}",
        f"{ENDPOINT}\ntraffic: {{healthCheck: {{interval: 7s}}}}",
        "endpoints: [{address: 10.0.0.2, port: 8000}]",
    ],
)
@pytest.mark.parametrize("platform", [ENVOY, ISTIO])
def test_what_only_the_clusters_of_envoys_have_is_sent_too(setting: str, platform: str, tmp_path: Path) -> None:
    found = changes(
        side(tmp_path / "before", (platform, model("chat", ENDPOINT))),
        side(tmp_path / "after", (platform, model("chat", setting))),
    )
    assert found.classes.found == ()
    assert ("the control server" in [step.by for step in found.steps]) == (platform == ENVOY)


def listing(*last: int, weight: int = 100, cold: int = 0) -> str:
    """The endpoints of version 1, which gets `weight`; version 2 has one of its own."""
    endpoints = [f"{{address: 10.0.0.{of}, port: 8000}}" for of in last]
    endpoints += [f"{{address: 10.0.0.{cold}, port: 8000, tier: cold}}"] if cold else []
    first = f"{{name: '1', weight: {weight}, endpoints: [{', '.join(endpoints)}]}}"
    return versions(first, f"{{name: '2', weight: {100 - weight}, endpoints: [{{address: 10.0.1.1, port: 8000}}]}}")


@pytest.mark.parametrize(
    ("before", "after", "where"),
    [
        (listing(1, 2), listing(3, 4), "beside the old ones"),
        (listing(1, cold=9), listing(2, cold=9), "beside the old ones"),
        (listing(1, weight=50), listing(2, weight=0), "beside the old ones"),
        (listing(1, weight=0), listing(2, weight=50), "beside the old ones"),
        (listing(weight=0), listing(1, weight=50), "before its requests"),
        (listing(1, 2), listing(2, 3), ""),
        (listing(1), listing(), ""),
        (listing(), listing(1), ""),
        (listing(1, weight=0), listing(2, weight=0), ""),
    ],
)
def test_requests_do_not_come_to_endpoints_that_nobody_has_probed(
    before: str, after: str, where: str, tmp_path: Path
) -> None:
    found = steps(tmp_path, (before,), (after,))
    words = f"commit the new endpoints of chat 1 {where}, and wait until Envoys have probed them (up to 5s each time)"
    assert [step.what for step in found if "probed" in step.what] == ([words] if where else [])
    if where:
        assert {step.commit for step in found} == {1, 2}


def test_istio_finds_its_endpoints_by_itself(tmp_path: Path) -> None:
    assert {step.commit for step in steps(tmp_path, (ISTIO, listing(1)), (ISTIO, listing(2)))} <= {1}


def test_what_is_the_clusters_alone_is_not_sent(tmp_path: Path) -> None:
    found = steps(tmp_path, (ONE,), (ONE.replace("spec:\n", "spec:\n  modelPath: s3://models/other\n"),))
    assert "the control server" not in [step.by for step in found]


def test_more_envoys_are_pods_and_nothing_to_send(tmp_path: Path) -> None:
    server = document(
        "Platform",
        "platform",
        "controlServer: {image: registry.example.com/turnout:0.1.0, repository: {url: https://git.example.com/p.git}}",
    )
    more = at("old").rstrip() + "\n  replicas: 5\n"
    found = steps(tmp_path, (server, ONE, at("old")), (server, ONE, more))
    assert [step.by for step in found] == ["Argo CD"]
