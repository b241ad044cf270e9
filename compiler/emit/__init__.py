"""What a fleet asks of a cluster: one module per target, each `Fleet` to objects. `compiler.render` writes them down.

To add a target: one module with these two functions, one line in `EMITTERS`. No module reads another's objects; what
they must agree on (names, labels) stands in `names`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from compiler.diagnostics import Diagnostic
from compiler.emit import (
    autoscaling,
    envoys,
    flagger,
    gateway_api,
    istio,
    kubernetes,
    observability,
    pools,
    priorities,
    tenancy,
)
from compiler.emit.object import Object
from compiler.fleet import Fleet
from compiler.kept import Kept


class Emitter(Protocol):
    def objects(self, fleet: Fleet, kept: Kept) -> Iterator[Object]:
        """Made anew only where what they are made of has changed since the run that `kept` is of.

        Never raises for a linked fleet, also not where `diagnostics` finds errors; then nothing is written."""

    def diagnostics(self, fleet: Fleet, kept: Kept) -> Iterator[Diagnostic]:
        """What this target cannot express: codes P3; and who else writes what its objects say: P450."""


EMITTERS: tuple[Emitter, ...] = (
    kubernetes,
    istio,
    gateway_api,
    tenancy,
    pools,
    autoscaling,
    priorities,
    flagger,
    observability,
    envoys,
)
