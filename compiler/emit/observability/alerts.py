"""Alerts: what somebody must know of, with policy's own limits as thresholds where it has some.

critical: clients notice. warning: they soon may, or somebody has to look within the day. info: for whoever looks
anyway, nobody is called. A busy GPU is info: an engine that has work keeps it at 100 %, and what hurts is waiting.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal, NamedTuple, TypeVar

from compiler.emit.durations import duration
from compiler.emit.observability.recordings import INTERVAL
from compiler.emit.observability.watched import ByValue, Watched

V = TypeVar("V")

LONG_QUEUE = 100
FULL_CACHE_PERCENT = 95
BUSY_GPU_PERCENT = 95
FAILING_SHARE = 0.01


Severity = Literal["critical", "warning", "info"]
SLOW: tuple[tuple[Severity, float], ...] = (("critical", 0.9), ("warning", 0.5))
"""Shares of the time to the first byte."""
OUTAGE: tuple[tuple[Severity, float], ...] = (("critical", 1), ("warning", 0.5))
"""Shares of the rto."""
LONG_WAIT = 0.25
"""Of it too."""


class Alert(NamedTuple):
    name: str
    severity: Severity
    lasts: str
    """How long before it fires; `0s` at once."""
    expr: str
    summary: str
    """May hold Prometheus' templates."""
    description: str
    limit: str = ""
    """Policy's, as it writes it, where it decides the threshold: two limits are two rules of one name."""


def groups(watched: Watched, own_envoys: bool) -> Iterator[dict[str, Any]]:
    """Without Envoys of Turnout's own there is no control server to miss."""
    yield _group("turnout-alerts-models", (*_of_limits(watched), *_of_promises(watched), *_OF_MODELS))
    if own_envoys:
        yield _group("turnout-alerts-control", _OF_CONTROL)


def _group(name: str, alerts: Iterable[Alert]) -> dict[str, Any]:
    return {"name": name, "interval": INTERVAL, "rules": [_rule(alert) for alert in alerts]}


def _rule(alert: Alert) -> dict[str, Any]:
    return {
        "alert": alert.name,
        "expr": alert.expr,
        **({} if alert.lasts == "0s" else {"for": alert.lasts}),
        "labels": {"severity": alert.severity, **({"limit": alert.limit} if alert.limit else {})},
        "annotations": {"summary": alert.summary, "description": alert.description},
    }


def _of_limits(watched: Watched) -> Iterator[Alert]:
    """One for each value that a limit has in the fleet: rules grow with the values, not with the models."""
    for batch, chosen in _chosen(watched.batches):
        yield Alert(
            "TurnoutQueueOverBatch",
            "warning",
            "2m",
            f"turnout_queue_length{chosen} > {batch}",
            "{{ $labels.pod }} has {{ $value }} requests waiting",
            f"More than the {batch} that it works on at a time (config.maxBatchSize): the last of them waits for a "
            "whole generation. More replicas, or a limit on who asks.",
            str(batch),
        )
    for limit, chosen in _chosen(watched.first_bytes):
        milliseconds, said = limit.total_seconds() * 1000, duration(limit)
        for severity, share in SLOW:
            yield Alert(
                "TurnoutSlowFirstToken",
                severity,
                "5m",
                f"turnout_ttft_ms{chosen} > {share * milliseconds:g}",
                "First tokens of {{ $labels.model }} {{ $labels.version }} take {{ $value | humanize }} ms",
                f"One in twenty takes longer than {share:.0%} of the {said} after which a stream is begun again "
                "elsewhere (traffic.timeouts.stream.firstByte), which makes the queues longer still.",
                said,
            )
        yield Alert(
            "TurnoutLongQueueWait",
            "warning",
            "5m",
            f"turnout_queue_wait_ms{chosen} > {LONG_WAIT * milliseconds:g}",
            "Requests to {{ $labels.model }} {{ $labels.version }} wait {{ $value | humanize }} ms",
            f"A quarter of the {said} that a stream may take to its first byte goes by before its prompt is read: more "
            "replicas, or smaller prompts.",
            said,
        )


def _chosen(values: ByValue[V]) -> Iterator[tuple[V, str]]:
    """Each value with a matcher of its models; none where all have the same, so that one more changes no rule."""
    for value, models in values:
        yield value, f"{{{_among(models)}}}" if len(values) > 1 else ""


def _among(models: tuple[str, ...]) -> str:
    """A matcher. Slugs have no characters that a regular expression minds."""
    return f'model=~"{"|".join(models)}"'


def _of_promises(watched: Watched) -> Iterator[Alert]:
    """How long a model has had nobody, against what is promised. Envoys see it, wherever the fault is."""
    for rto, models in watched.rtos:
        for severity, share in OUTAGE:
            yield Alert(
                "TurnoutOutageOverRto",
                severity,
                duration(rto * share),
                _nobody(_among(models)),
                f"{{{{ $labels.model }}}} has had no healthy instance for {duration(rto * share)}",
                f"Of {duration(rto)} that are promised (DisasterRecovery, rto). It is measured every {INTERVAL}.",
                duration(rto),
            )


def _nobody(among: str) -> str:
    """Models that no Envoy of ours has a healthy instance of; of those that Istio alone carries, which tells nothing of
    its own, those of which no instance tells its queue any more. Also where there are no instances at all."""
    healthy, queues = f"envoy_cluster_membership_healthy{{{among}}}", f"turnout_queue_length{{{among}}}"
    gone = f"group by (model) (max_over_time({queues}[1d])) unless group by (model) ({queues} or {healthy})"
    return f"max by (model) ({healthy}) == 0 or ({gone})"


_OF_VERSION = "by (model, version)"
_ENVOYS = 'model!=""'
"""Series of clusters that are a model's."""
_VERSION = "{{ $labels.model }} {{ $labels.version }}"

_OF_MODELS = (
    Alert(
        "TurnoutHighQueueLength",
        "warning",
        "2m",
        f"sum by (namespace, model) (turnout_queue_length) > {LONG_QUEUE}",
        "{{ $value }} requests wait for {{ $labels.model }}",
        "Over all its instances. Autoscaling by queue_length adds instances before this; without it somebody has to.",
    ),
    Alert(
        "TurnoutCacheFull",
        "warning",
        "5m",
        f"max by (namespace, model, version) (turnout_kv_usage) > {FULL_CACHE_PERCENT}",
        f"The KV cache of an instance of {_VERSION} is {{{{ $value | humanize }}}} % full",
        "The engine takes sequences back out to make room and reads their prompts again. Fewer sequences at a time "
        "(config.maxBatchSize), shorter ones (config.maxSeqLen), or more instances.",
    ),
    Alert(
        "TurnoutHighGpuUtilization",
        "info",
        "5m",
        f"avg by (namespace, model, version) (turnout_gpu_utilization) > {BUSY_GPU_PERCENT}",
        f"The GPUs of {_VERSION} are {{{{ $value | humanize }}}} % busy",
        "Nothing is wrong: they are paid for to be busy. Queues and first tokens tell whether there are too few.",
    ),
    Alert(
        "TurnoutNoHealthyInstance",
        "critical",
        "1m",
        f"max {_OF_VERSION} (envoy_cluster_membership_healthy{{{_ENVOYS}}}) == 0"
        f" and max {_OF_VERSION} (envoy_cluster_membership_total{{{_ENVOYS}}}) > 0",
        f"{_VERSION} has no healthy instance at any Envoy",
        "Its requests are answered by a fallback, or 503. What the instances' own logs say comes first.",
    ),
    Alert(
        "TurnoutInstanceEjected",
        "warning",
        "1m",
        f"max {_OF_VERSION} (envoy_cluster_outlier_detection_ejections_active{{{_ENVOYS}}}) > 0",
        f"{{{{ $value }}}} instances of {_VERSION} are ejected",
        "They answered several requests in a row with 5xx. An instance that is ejected again and again passes its "
        "probes and fails at its work: a broken GPU, or damaged weights.",
    ),
    Alert(
        "TurnoutRequestsFail",
        "warning",
        "5m",
        f'sum {_OF_VERSION} (rate(envoy_cluster_upstream_rq_xx{{{_ENVOYS}, envoy_response_code_class="5"}}[5m])) / '
        f"sum {_OF_VERSION} (rate(envoy_cluster_upstream_rq_completed{{{_ENVOYS}}}[5m])) > {FAILING_SHARE:g}",
        f"{{{{ $value | humanizePercentage }}}} of the requests to {_VERSION} fail",
        "As its instances answer, tries that were repeated elsewhere among them.",
    ),
    Alert(
        "TurnoutMetricsMissing",
        "info",
        "10m",
        'up{engine!="", model!=""} == 0',
        "{{ $labels.pod }} of {{ $labels.model }} tells no metrics",
        "So no other rule speaks of it, and no autoscaler counts it. TensorRT-LLM needs return_perf_metrics: true in "
        "its own options.",
    ),
)

_OF_CONTROL = (
    Alert(
        "TurnoutConfigurationRefused",
        "warning",
        "0s",
        "sum by (type) (increase(turnout_nacks_total[10m])) > 0",
        "An Envoy has refused a {{ $labels.type }}",
        "It keeps what it had. `turnout status` names the line of policy and Envoy's reason.",
    ),
    Alert(
        "TurnoutEnvoysOutOfSync",
        "warning",
        "5m",
        'sum by (state) (turnout_envoys{state!="synced"}) > 0',
        "{{ $value }} Envoys are {{ $labels.state }}",
        "They do not do what policy says. behind: they have not answered; refusing: they will not. `turnout status` "
        "says which.",
    ),
    Alert(
        "TurnoutEnvoyWithoutControlServer",
        "warning",
        "5m",
        "envoy_control_plane_connected_state == 0",
        "{{ $labels.pod }} has no control server",
        "It goes on with what it had, and takes no change.",
    ),
    Alert(
        "TurnoutNoControlServer",
        "critical",
        "5m",
        "absent(turnout_build_info)",
        "No control server tells metrics",
        "Envoys go on with what they have; one that starts now stays unready.",
    ),
    Alert(
        "TurnoutReplicasDisagree",
        "warning",
        "10m",
        "count(count by (digest) (turnout_policy_info)) > 1",
        "Control servers serve {{ $value }} different policies",
        "A replica has not got the last commit, or could not serve it.",
    ),
    Alert(
        "TurnoutPolicyRefused",
        "warning",
        "0s",
        'increase(turnout_policy_reloads_total{result="failed"}[15m]) > 0',
        "Policies could not be served",
        "The last good ones still are. The server's log, `/status` and `turnout check` say what is wrong.",
    ),
    Alert(
        "TurnoutLiveWeights",
        "info",
        "12h",
        "max(turnout_live_overrides) > 0",
        "{{ $value }} models have had live weights for half a day",
        "What is to stay belongs into policy: live weights end by themselves.",
    ),
)
