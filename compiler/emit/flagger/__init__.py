"""What Flagger needs to move a model: a Canary, and a MetricTemplate for each metric that it has no query for itself.

The Deployment and the Service that it takes over are the workload's: `kubernetes`. What Flagger makes itself, Services,
a VirtualService and DestinationRules, is nobody else's.
"""

from __future__ import annotations

from collections.abc import Iterator

from compiler.diagnostics import Diagnostic
from compiler.emit.flagger import limits
from compiler.emit.flagger.canary import canary_spec
from compiler.emit.flagger.metrics import template_name, template_spec, templates
from compiler.emit.names import model_labels
from compiler.emit.object import Object, Owner, Wave, metadata
from compiler.fleet import Fleet, Model, Rollout, slug
from compiler.kept import Kept

_API_VERSION = "flagger.app/v1beta1"


def objects(fleet: Fleet, kept: Kept) -> Iterator[Object]:
    moved = tuple(model for model in fleet.models if model.is_flaggers)
    return iter(kept.chained(_of_model, moved, kept.same("prometheus", fleet.platform.prometheus)))


def diagnostics(fleet: Fleet, kept: Kept) -> Iterator[Diagnostic]:
    return limits.diagnostics(fleet, kept)


def _of_model(model: Model, prometheus: str | None) -> tuple[Object, ...]:
    rollout = model.rollout
    assert rollout is not None
    return (
        *(
            _object(
                model, rollout, "MetricTemplate", template_name(model, metric), template_spec(model, metric, prometheus)
            )
            for metric in templates(rollout)
        ),
        # It keeps its name from rollout to rollout: with the Canary goes all that Flagger has made, and what runs.
        _object(model, rollout, "Canary", slug(model.name), canary_spec(model, rollout, prometheus)),
    )


def _object(model: Model, rollout: Rollout, kind: str, name: str, spec: dict[str, object]) -> Object:
    owner = Owner(slug(rollout.name), model.namespace, rollout.labels, rollout.annotations)
    body = {
        "apiVersion": _API_VERSION,
        "kind": kind,
        "metadata": metadata(name, owner, rollout.origin, Wave.OBSERVATION, model_labels(model)),
        "spec": spec,
    }
    return Object(f"rollouts/{slug(rollout.name)}.yaml", body, rollout.origin)
