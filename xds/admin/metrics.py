"""Counters and times of the control server, for Prometheus."""

from __future__ import annotations

from collections import Counter as Counted
from collections.abc import Iterable, Mapping
from importlib import metadata

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    generate_latest,
)

from compiler.fleet import slug
from xds.admin.following_gauges import FollowingGauges
from xds.admin.plain_metrics import PlainCounter, PlainHistogram
from xds.admin.standing import Standing
from xds.git.standing import Standing as GitStanding
from xds.snapshot import HeldBack, ResourceType
from xds.stages import Stage
from xds.stream.state import Variant
from xds.tls.files import Certificates

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """One server's; a registry of its own, so that two servers in a process do not share theirs."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        Info("turnout_build", "Version of the control server", registry=registry).info({"version": _version()})
        self._policy = Info("turnout_policy", "The policies that are served", registry=registry)
        streams = Gauge("turnout_streams", "Open xDS streams", ["variant"], registry=registry)
        self._streams = {variant: streams.labels(variant.value) for variant in Variant}
        labels = ("variant", "type")
        keys = {(variant, type_): (variant.value, type_.label) for variant in Variant for type_ in ResourceType}
        self._pushes = PlainCounter("turnout_pushes", "Responses sent", labels, keys, registry)
        self._bytes = PlainCounter("turnout_push_bytes", "Bytes of responses sent", labels, keys, registry)
        self._acks = PlainCounter("turnout_acks", "Responses accepted", labels, keys, registry)
        self._nacks = PlainCounter("turnout_nacks", "Responses refused", labels, keys, registry)
        self._unknown = Counter("turnout_unknown_type_requests", "Requests for unknown types", registry=registry)
        self._refused = Counter("turnout_streams_refused", "Streams ended by the server", ["code"], registry=registry)
        self._push_seconds = PlainHistogram(
            "turnout_push_seconds", "From the save of a policy to a stream's first response", (), SECONDS, registry
        )
        self._convergence_seconds = Histogram(
            "turnout_convergence_seconds",
            "From the save of a policy to the last answer of the last Envoy",
            buckets=SECONDS,
            registry=registry,
        )
        self._stages = PlainHistogram(
            "turnout_stage_seconds",
            "Time of each stage of a push; send: until the transport takes a response; ack: from there to its answer",
            ("stage",),
            SECONDS,
            registry,
        )
        ProcessCollector(registry=registry)
        self._tasks = Gauge("turnout_tasks", "Tasks of the event loop", registry=registry)
        self._lost = Counter("turnout_traces_lost", "Traces that could not be sent", registry=registry)
        self._reloads = Counter("turnout_policy_reloads", "Policies read", ["result"], registry=registry)
        for result in ("ok", "failed"):
            self._reloads.labels(result)
        self._compile_seconds = Histogram(
            "turnout_compile_seconds", "Time to compile the policies", buckets=SECONDS, registry=registry
        )

        self._live_weight = Gauge(
            "turnout_live_weight",
            "Percent that a version gets by live weights; only of models that have some, by their slugs",
            ["model", "version"],
            registry=registry,
        )
        self._policy_weight = Gauge(
            "turnout_policy_weight",
            "Percent that a version gets by policy; only of models with several, by their slugs",
            ["model", "version"],
            registry=registry,
        )
        self._weights: Mapping[tuple[str, str], int] = {}
        self._envoys = Gauge(
            "turnout_envoys", "Envoys with a stream open, by how they stand", ["state"], registry=registry
        )
        self._held_back = Gauge(
            "turnout_held_back",
            "Resources, or routes in a table, that are not served as policy has them, by type",
            ["type"],
            registry=registry,
        )
        self._certificate_expiry = Gauge(
            "turnout_certificate_expiry_timestamp_seconds",
            "When the certificate that a port is served with expires, in seconds since 1970",
            ["of"],
            registry=registry,
        )
        self._certificate_kept = Gauge(
            "turnout_certificate_rotation_failed",
            "Whether a port keeps its certificate, as the files that took its place cannot be used",
            ["of"],
            registry=registry,
        )
        self._live_overrides = Gauge("turnout_live_overrides", "Models that have live weights", registry=registry)

        self._last_good = Gauge(
            "turnout_last_good",
            "1 while what a server before this one has kept is served, for want of good policies",
            registry=registry,
        )
        self._keep_failing = Gauge(
            "turnout_keep_failing", "1 while what is served cannot be kept on the disk", registry=registry
        )
        self._following: FollowingGauges | None = None

    def following(self, standing: GitStanding) -> None:
        if self._following is None:
            self._following = FollowingGauges(self._registry)
        self._following.stands(standing)

    def exposition(self) -> bytes:
        return bytes(generate_latest(self._registry))

    def stream_opened(self, variant: Variant) -> None:
        self._streams[variant].inc()

    def stream_closed(self, variant: Variant) -> None:
        self._streams[variant].dec()

    def stream_refused(self, code: str) -> None:
        self._refused.labels(code).inc()

    def pushed(self, variant: Variant, type_: ResourceType, size: int, seconds: float) -> None:
        key = variant, type_
        self._pushes.add(key)
        self._bytes.add(key, size)
        self._stages.observe(seconds, "send")

    def answered(self, variant: Variant, type_: ResourceType, seconds: float, *, refused: bool) -> None:
        (self._nacks if refused else self._acks).add((variant, type_))
        self._stages.observe(seconds, "ack")

    def stages(self, passed: Iterable[Stage]) -> None:
        for stage in passed:
            self._stages.observe(stage.seconds, stage.name)

    def tasks(self, number: int) -> None:
        self._tasks.set(number)

    def traces_lost(self, number: int) -> None:
        self._lost.inc(number)

    def unknown_type(self) -> None:
        self._unknown.inc()

    def first_push(self, seconds: float) -> None:
        self._push_seconds.observe(seconds)

    def converged(self, seconds: float) -> None:
        self._convergence_seconds.observe(seconds)

    def compiled(self, seconds: float, *, ok: bool) -> None:
        self._compile_seconds.observe(seconds)
        self._reloads.labels("ok" if ok else "failed").inc()

    def serving(self, digest: str, weights: Mapping[tuple[str, str], int], commit: str = "") -> None:
        """`weights` are those of `Facts`."""
        self._policy.info({"digest": digest, "commit": commit})
        for model_name, version_name in self._weights.keys() - weights.keys():
            self._policy_weight.remove(slug(model_name), version_name)
        for (model_name, version_name), weight in weights.items():
            if self._weights.get((model_name, version_name)) != weight:
                self._policy_weight.labels(slug(model_name), version_name).set(weight)
        self._weights = weights

    def last_good(self, served: bool) -> None:
        self._last_good.set(served)

    def keep_failing(self, failing: bool) -> None:
        self._keep_failing.set(failing)

    def envoys(self, standings: Mapping[Standing, int]) -> None:
        for state in Standing:
            self._envoys.labels(state.value).set(standings.get(state, 0))

    def held_back(self, held: Iterable[HeldBack]) -> None:
        found = Counted(of.type for of in held)
        for type_ in ResourceType:
            self._held_back.labels(type_.label).set(found[type_])

    def certificates(self, found: Iterable[Certificates]) -> None:
        for each in found:
            self._certificate_expiry.labels(each.of).set(each.loaded.not_after.timestamp())
            self._certificate_kept.labels(each.of).set(bool(each.problem))

    def live(self, models: Mapping[str, Mapping[str, int]]) -> None:
        """Live weights by model and version, all there are."""
        self._live_weight.clear()
        for model, weights in models.items():
            for version, weight in weights.items():
                self._live_weight.labels(slug(model), version).set(weight)
        self._live_overrides.set(len(models))


def _version() -> str:
    try:
        return metadata.version("turnout")
    except metadata.PackageNotFoundError:
        return "from source"
