"""How requests travel: a model's effective traffic settings as parts of the fleet."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from compiler.decode import Policies, Policy
from compiler.diagnostics import BUILT_IN, Diagnostic, Position, error, warning
from compiler.fleet import (
    ConnectionPool,
    Fault,
    HashAlgorithm,
    HashKey,
    HashSource,
    HealthCheck,
    LoadBalancing,
    Mirror,
    OutlierDetection,
    Retries,
    SlowStart,
    Strategy,
    Timeouts,
)
from compiler.kinds import InferenceModel
from compiler.kinds.inference_model import InferenceModelSpec
from compiler.kinds.measures import duration_text
from compiler.kinds.traffic import HashKeySpec, RouteSpec, TrafficSpec, retry_words
from compiler.link.effective import active_replicas
from compiler.link.references import dangling
from compiler.nodes import Loc, dotted

ROUTE_FIELDS = ("retries", "timeouts", "mirror", "fault")
"""What a route decides, and not a cluster: the targets of one route must agree in it."""


def load_balancing(policy: Policy[InferenceModel], spec: TrafficSpec, found: list[Diagnostic]) -> LoadBalancing:
    balancing = spec.load_balancing
    strategy = Strategy(balancing.strategy)
    hashes = strategy is Strategy.CONSISTENT_HASH
    loc = ("spec", "traffic", "loadBalancing")
    if hashes and balancing.hash_key is None:
        place = policy.at(*loc, "strategy")
        found.append(error("P212", place, f"{strategy} needs a hashKey", "hashKey: {header: x-session-id}"))
    if not hashes and balancing.hash_key is not None:
        place = policy.key(*loc, "hashKey")
        found.append(error("P212", place, f"{strategy} takes no hashKey", "strategy: consistent_hash"))
    if hashes and balancing.slow_start.window:
        place = policy.at(*loc, "slowStart", "window")
        found.append(error("P214", place, "slowStart has no effect with consistent_hash", "leave it out"))
    key = _hash_key(policy, balancing.hash_key, found) if balancing.hash_key else None
    return LoadBalancing(
        strategy=strategy,
        hash_key=key if hashes else None,
        algorithm=HashAlgorithm(balancing.algorithm),
        slow_start=SlowStart(balancing.slow_start.window, balancing.slow_start.min_percent),
        origin=policy.said(*loc),
    )


def _hash_key(policy: Policy[InferenceModel], spec: HashKeySpec, found: list[Diagnostic]) -> HashKey | None:
    loc = ("spec", "traffic", "loadBalancing", "hashKey")
    given = [
        HashKey(source, name)
        for source, name in (
            (HashSource.HEADER, spec.header),
            (HashSource.COOKIE, spec.cookie),
            (HashSource.QUERY_PARAMETER, spec.query_parameter),
        )
        if name is not None
    ]
    if len(given) != 1:
        names = " and ".join(f"'{key.source}'" for key in given)
        said = f"{names} exclude each other" if given else "'header', 'cookie' or 'queryParameter': one is needed"
        found.append(error("P201", policy.at(*loc), said, "hashKey: {header: x-session-id}"))
        return None
    if given[0].source is HashSource.HEADER and given[0].name.lower() == "x-request-id":
        said = "x-request-id is new on every request: hashing it is random"
        found.append(error("P213", policy.at(*loc, "header"), said, "a session or user header"))
    return given[0]


def check_traffic(policy: Policy[InferenceModel], spec: InferenceModelSpec, found: list[Diagnostic]) -> None:
    """Whether settings that are valid alone fit each other."""
    traffic, batch = spec.traffic, spec.config.max_batch_size
    interval, timeout = traffic.health_check.interval, traffic.health_check.timeout
    if timeout > interval:
        place = policy.either(("spec", "traffic", "healthCheck"), "timeout", "interval")
        said = f"health check: timeout {duration_text(timeout)} over interval {duration_text(interval)}"
        found.append(error("P408", place, said, f"timeout: {duration_text(interval)}"))
    idle, first = traffic.timeouts.stream.idle, traffic.timeouts.stream.first_byte
    if idle < first:
        place = policy.either(("spec", "traffic", "timeouts", "stream"), "idle", "firstByte")
        said = f"idle {duration_text(idle)} cuts before firstByte {duration_text(first)}"
        found.append(warning("P414", place, said, f"idle: {duration_text(first)} or more"))
    if traffic.retries.attempts and not retry_words(traffic.retries.retry_on):
        place = policy.at("spec", "traffic", "retries", "retryOn")
        found.append(error("P104", place, "spec.traffic.retries.retryOn: it is empty", "attempts: 0"))
    pool = traffic.connection_pool
    for name, limit in (("maxConnections", pool.max_connections), ("http2MaxRequests", pool.http2_max_requests)):
        if limit and limit < batch:
            place = policy.at("spec", "traffic", "connectionPool", name)
            said = f"{name} {limit} is under maxBatchSize {batch}"
            found.append(warning("P409", place, said, f"leave {name} out"))


def health_check(spec: TrafficSpec) -> HealthCheck:
    check = spec.health_check
    assert check.path is not None  # `effective` has filled it in
    return HealthCheck(check.path, check.interval, check.timeout, check.failure_threshold, check.success_threshold)


def outlier_detection(spec: TrafficSpec, origin: Position) -> OutlierDetection:
    o = spec.outlier_detection
    return OutlierDetection(o.consecutive_5xx_errors, o.interval, o.base_ejection_time, o.max_ejection_percent, origin)


def connection_pool(spec: TrafficSpec, origin: Position) -> ConnectionPool:
    pool = spec.connection_pool
    connections, pending, requests = pool.max_connections, pool.http1_max_pending_requests, pool.http2_max_requests
    assert connections is not None  # `effective` has filled them in
    assert pending is not None
    assert requests is not None
    each = pool.max_requests_per_connection
    return ConnectionPool(connections, pending, requests, each, pool.connect_timeout, origin)


def retries(spec: RouteSpec, origin: Position = BUILT_IN) -> Retries:
    words = retry_words(spec.retries.retry_on)
    return Retries(
        attempts=spec.retries.attempts,
        retry_on=tuple(word for word in words if not word.isdigit()),
        status_codes=tuple(int(word) for word in words if word.isdigit()),
        backoff=spec.retries.backoff,
        origin=origin,
    )


def timeouts(spec: RouteSpec, origin: Position = BUILT_IN, stream_origin: Position = BUILT_IN) -> Timeouts:
    stream = spec.timeouts.stream
    return Timeouts(stream.first_byte, stream.idle, stream.total, spec.timeouts.unary.total, origin, stream_origin)


def mirror(spec: RouteSpec, origin: Position = BUILT_IN) -> Mirror | None:
    """`None` also for one of 0 percent."""
    copies = spec.mirror
    return Mirror(copies.model, copies.version, copies.percent, origin) if copies and copies.percent else None


def fault(spec: RouteSpec, origin: Position = BUILT_IN) -> Fault | None:
    """`None` also where every part is of 0 percent."""
    delay = spec.fault.delay if spec.fault else None
    abort = spec.fault.abort if spec.fault else None
    made = Fault(
        delay_percent=delay.percent if delay else 0,
        delay=delay.duration if delay and delay.percent else timedelta(0),
        abort_percent=abort.percent if abort else 0,
        abort_status=abort.status if abort and abort.percent else 0,
        origin=origin,
    )
    return made if made.delay_percent or made.abort_percent else None


def check_mirror(
    policy: Policy[Any],
    loc: Loc,
    spec: RouteSpec,
    mirrored: Iterable[str],
    policies: Policies,
    found: list[Diagnostic],
) -> bool:
    """Whether the mirror at `loc` of requests to the models `mirrored` leads somewhere else that exists."""
    copies, known = spec.mirror, policies.names[InferenceModel]
    if copies is None:
        return True
    if copies.model not in known:
        found.append(dangling(dotted((*loc, "model")), "InferenceModel", copies.model, policy.at(*loc, "model"), known))
        return False
    models = policies.of(InferenceModel)
    if copies.model not in models:
        return False  # it is invalid by itself, and that has been said
    target = models[copies.model].body.spec
    weights = {v.name: v.weight for v in target.versions or ()} or {target.version or "1": 100}
    versions = list(weights)
    if copies.version is not None and copies.version not in versions:
        place = policy.at(*loc, "version")
        said = f"{dotted((*loc, 'version'))}: no version '{copies.version}' of {copies.model}"
        found.append(error("P203", place, said, f"one of {', '.join(versions)}"))
        return False
    if copies.model in mirrored and (copies.version is None or weights[copies.version] in (100, None)):
        said = f"{copies.model} mirrors to itself"
        found.append(error("P217", policy.at(*loc, "model"), said, "another model, or one of several versions"))
        return False
    if copies.percent and copies.version is not None and _serves_nobody(copies.model, copies.version, policies):
        said = f"nothing serves the copies for {copies.model} version {copies.version}: 0 replicas, no hot standby"
        found.append(error("P420", policy.at(*loc, "version"), said, "replicas: 1 for that version"))
    return True


def _serves_nobody(model: str, name: str, policies: Policies) -> bool:
    """Whether a version that has no weight has no instances either. Of others, linking their model tells."""
    versions = policies.of(InferenceModel)[model].body.spec.versions or ()
    for version, view in zip(versions, policies.versions.get(model, ()), strict=False):
        if version.name == name:
            return version.weight == 0 and active_replicas(view.body.spec) == 0
    return False
