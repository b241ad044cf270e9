"""Whether ejection and retries can do what they are set for, with the instances there are."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.diagnostics import Diagnostic, warning
from compiler.fleet import Model, Version


def of_model(model: Model) -> tuple[Diagnostic, ...]:
    return (*_retries(model), *(finding for version in model.versions for finding in _ejection(model, version)))


def instances(version: Version) -> int:
    """Instances that may be listed at once: those of the tiers, or those given by hand."""
    return max(version.replicas + version.hot + version.warm + version.cold, len(version.endpoints))


def _tiers(version: Version) -> int:
    """Tiers that may be listed, so priorities that Envoy may have to walk through."""
    planned = sum(count > 0 for count in (version.replicas, version.hot, version.warm, version.cold))
    return max(planned, len({endpoint.tier for endpoint in version.endpoints}))


def _ejection(model: Model, version: Version) -> Iterator[Diagnostic]:
    """Envoy ejects floor(instances x percent / 100), and since 1.28 not even one where that is none."""
    detection, count = model.outlier_detection, instances(version)
    if detection.consecutive_5xx_errors and count and count * detection.max_ejection_percent < 100:
        said = f"{detection.max_ejection_percent} % of {count} {'instance' if count == 1 else 'instances'} ejects none"
        yield warning("P401", version.origin, said, "maxEjectionPercent: 100")


def _retries(model: Model) -> Iterator[Diagnostic]:
    attempts, errors = model.retries.attempts, model.outlier_detection.consecutive_5xx_errors
    tiers = max(_tiers(version) for version in model.versions)
    if attempts < tiers - 1:
        said = f"{model.name}: attempts {attempts} cannot reach tier {tiers}"
        yield warning("P438", model.origin, said, f"retries: {{attempts: {tiers - 1}}}")
    if 0 < errors <= attempts + 1 and {500, 502, 503} & set(model.retries.status_codes):
        said = f"{model.name}: one bad request tried {attempts + 1} times ejects an instance at {errors} errors"
        yield warning("P439", model.origin, said, f"consecutive5xxErrors: {attempts + 2}")
