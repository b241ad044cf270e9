"""Whatever a policy asks for, what is rendered is what an API server takes, and the same a second time."""

from __future__ import annotations

import itertools
from collections import Counter
from pathlib import Path

from hypothesis import HealthCheck, Phase, assume, event, given, settings

from compiler.emit import EMITTERS, argocd, kubernetes
from compiler.kept import Kept
from compiler.ownership import conflicts, group
from compiler.pipeline import compile_policies, objects
from compiler.render import rendered_files
from tests.compiler.generated import Document, fleets, text
from tests.manifests.schemas import validate

SLOW = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much, HealthCheck.too_slow],
)
folders = itertools.count()
EVERY_KIND = """\
 ConfigMap
 LimitRange
 Namespace
 ResourceQuota
 Service
 ServiceAccount
apps DaemonSet
apps Deployment
argoproj.io AppProject
argoproj.io Application
autoscaling HorizontalPodAutoscaler
flagger.app Canary
flagger.app MetricTemplate
gateway.networking.k8s.io Gateway
gateway.networking.k8s.io HTTPRoute
gateway.networking.k8s.io ReferenceGrant
keda.sh ScaledObject
monitoring.coreos.com PodMonitor
monitoring.coreos.com PrometheusRule
monitoring.coreos.com ServiceMonitor
networking.istio.io DestinationRule
networking.istio.io EnvoyFilter
networking.istio.io Gateway
networking.istio.io VirtualService
networking.k8s.io NetworkPolicy
policy PodDisruptionBudget
scheduling.k8s.io PriorityClass
scheduling.volcano.sh Queue
security.istio.io AuthorizationPolicy
security.istio.io PeerAuthentication
telemetry.istio.io Telemetry
"""


@SLOW
@given(documents=fleets())
def test_every_object_of_a_generated_fleet_is_valid(documents: list[Document], tmp_path: Path) -> None:
    folder = tmp_path / str(next(folders))
    folder.mkdir()
    (folder / "policies.yaml").write_text(text(documents))
    compiled = compile_policies(folder)
    for code in {found.code for found in compiled.diagnostics if found.severity == "error"}:
        event(f"refused with {code}")
    assume(compiled.fleet is not None)
    assert compiled.fleet is not None
    made = objects(compiled.fleet, "", Kept())
    for kind in {item.body["kind"] for item in made}:
        event(f"renders {kind}")
    complaints = {item.key: validate(item.body) for item in made}
    assert {key: found for key, found in complaints.items() if found} == {}
    assert list(conflicts(made)) == []
    looked_at = {item.key for model in compiled.fleet.models for item in kubernetes.handing_over(model)}
    assert looked_at == {item.key for item in made if item.handovers}
    assert max(Counter(item.key for item in made).values()) == 1
    again = [item for emitter in reversed(EMITTERS) for item in emitter.objects(compiled.fleet, compiled.kept)]
    applications = argocd.objects(compiled.fleet.platform, "", again, compiled.kept)
    assert rendered_files([*applications, *again]) == rendered_files(made)


def test_generated_fleets_have_every_kind_between_them(tmp_path: Path) -> None:
    """Or the property above says less than it seems to. What is drawn is settled by the code that is loaded."""
    valid, kinds = Counter[bool](), Counter[str]()

    @settings(SLOW, max_examples=300, derandomize=True, database=None, phases=[Phase.generate])
    @given(documents=fleets())
    def draw(documents: list[Document]) -> None:
        folder = tmp_path / str(next(folders))
        folder.mkdir()
        (folder / "policies.yaml").write_text(text(documents))
        compiled = compile_policies(folder)
        valid[compiled.fleet is not None] += 1
        if compiled.fleet is not None:
            made = objects(compiled.fleet, "", compiled.kept)
            kinds.update({f"{group(item.body['apiVersion'])} {item.body['kind']}" for item in made})

    draw()
    assert set(kinds) == {*EVERY_KIND.splitlines()}
    assert valid[True] > 9 * valid[False]
