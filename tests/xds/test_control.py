"""What the control task makes of a fleet beside serving it."""

from __future__ import annotations

from compiler.fleet import Endpoint, Tier
from tests.xds.translate.fleets import fleet, model, version
from xds.control import without_instances


def test_a_version_with_requests_and_no_instance_is_told() -> None:
    here = (Endpoint("127.0.0.1", 9001, "", Tier.ACTIVE, 1),)
    served = model("served", (version("1", endpoints=here, weight=100), version("2", endpoints=(), weight=0)))
    bare = model("bare", (version("1", endpoints=here, weight=50), version("2", endpoints=(), weight=50)))
    assert without_instances(fleet(served, bare)) == ["bare 2"]
