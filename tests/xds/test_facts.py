"""What is told of a fleet that is served."""

from __future__ import annotations

from compiler.fleet import Endpoint, Tier
from compiler.kept import Kept
from tests.xds.translate.fleets import fleet, model, version
from xds.facts import facts


def test_a_version_with_requests_and_no_instance_is_told() -> None:
    here = (Endpoint("127.0.0.1", 9001, "", Tier.ACTIVE, 1),)
    served = model("served", (version("1", endpoints=here, weight=100), version("2", endpoints=(), weight=0)))
    bare = model("bare", (version("1", endpoints=here, weight=50), version("2", endpoints=(), weight=50)))
    assert facts(fleet(served, bare), Kept()).without_instances == ("bare 2",)


def test_weights_are_told_of_models_with_several_versions() -> None:
    one = model("one", (version("1", weight=100),))
    two = model("two", (version("1", weight=90), version("2", weight=10)))
    assert facts(fleet(one, two), Kept()).weights == {("two", "1"): 90, ("two", "2"): 10}
