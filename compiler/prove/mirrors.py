"""What copies of requests cost: each is answered by a GPU, although nobody waits for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from compiler.diagnostics import Diagnostic, warning
from compiler.fleet import Fleet, Model
from compiler.fleet.routes import WHOLE, mirror_shares
from compiler.kept import Kept


def findings(fleet: Fleet, kept: Kept) -> Iterator[Diagnostic]:
    """Of models. What share of requests a rule takes nobody says, so of a rule's mirror nothing can be counted."""
    for model in kept.chained(_mirrored, fleet.models):
        assert model.mirror is not None
        if model.expected_qps is None:
            said = f"{model.name}: the cost of its mirror needs expectedQps"
            yield warning("P407", model.mirror.origin, said, "expectedQps: {typical: …}")
        else:
            yield warning("P436", model.mirror.origin, _cost(model, model.expected_qps, fleet.by_name))


def _mirrored(model: Model) -> tuple[Model, ...]:
    return () if model.mirror is None else (model,)


def _cost(model: Model, expected: float, models: Mapping[str, Model]) -> str:
    shares = mirror_shares(model.mirror, models)
    added = expected * sum(share.weight for share in shares) / WHOLE
    to = shares[0].model
    said = f"mirroring adds {added:g} requests/s to {to.name}"
    if not to.expected_qps:
        return said
    gpus = sum(version.replicas * version.resources.gpu_count for version in to.versions)
    more = added / to.expected_qps
    return (
        f"{said}: {100 * more:.0f} % of its own {to.expected_qps:g}, the time of {more * gpus:.1f} of its {gpus} GPUs"
    )
