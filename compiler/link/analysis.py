"""What must hold at each step of a rollout."""

from __future__ import annotations

from compiler.decode import Policy
from compiler.diagnostics import Diagnostic, error
from compiler.fleet import Analysis, AnalysisSource, Model, RolloutEngine, RolloutMetric
from compiler.kinds import Rollout
from compiler.kinds.rollout import RolloutMetricSpec
from compiler.link.query import query_problem
from compiler.spelling import nearest

BUILT_IN_METRICS = ("success-rate", "duration", "ttft", "queue-wait", "kv-usage")
_DEFAULT_METRIC = RolloutMetricSpec.model_construct(name="success-rate", min=99.0)


def analysis(policy: Policy[Rollout], engine: RolloutEngine, model: Model, found: list[Diagnostic]) -> Analysis:
    spec = policy.body.spec.analysis
    source = AnalysisSource(spec.source) if spec.source is not None else _source_of(engine)
    judged = source is AnalysisSource.WEBHOOK
    _check_webhook(policy, source, found)
    given = spec.metrics if spec.metrics is not None else () if judged else (_DEFAULT_METRIC,)
    _check_metrics(policy, source, engine, model, found)
    return Analysis(
        source=source,
        threshold=spec.threshold,
        confidence=spec.confidence,
        metrics=tuple(
            RolloutMetric(m.name, m.min, m.max, m.query, policy.at("spec", "analysis", "metrics", index, "name"))
            for index, m in enumerate(given)
        ),
        webhook=spec.webhook.url if judged and spec.webhook is not None else None,
    )


def _source_of(engine: RolloutEngine) -> AnalysisSource:
    """Flagger is sent no load reports."""
    return AnalysisSource.PROMETHEUS if engine is RolloutEngine.FLAGGER else AnalysisSource.LRS


def _check_webhook(policy: Policy[Rollout], source: AnalysisSource, found: list[Diagnostic]) -> None:
    spec, loc = policy.body.spec.analysis, ("spec", "analysis")
    if source is AnalysisSource.WEBHOOK:
        if spec.webhook is None:
            said = "'spec.analysis.webhook' is missing"
            found.append(error("P113", policy.at(*loc, "source"), said, "webhook: {url: http://…}"))
        if spec.metrics is not None:
            said = "'metrics' and 'source: webhook' exclude each other: the webhook judges"
            found.append(error("P201", policy.key(*loc, "metrics"), said, "source: prometheus"))
    elif spec.webhook is not None:
        said = f"'webhook' and 'source: {source}' exclude each other"
        found.append(error("P201", policy.key(*loc, "webhook"), said, "source: webhook"))


def _check_metrics(
    policy: Policy[Rollout],
    source: AnalysisSource,
    engine: RolloutEngine,
    model: Model,
    found: list[Diagnostic],
) -> None:
    first: set[str] = set()
    for index, metric in enumerate(policy.body.spec.analysis.metrics or ()):
        loc = ("spec", "analysis", "metrics", index)
        place = policy.at(*loc, "name")
        if metric.name in first:
            found.append(error("P204", place, f"metric '{metric.name}' twice", "one entry with min and max"))
        first.add(metric.name)
        if metric.min is None and metric.max is None:
            found.append(error("P224", place, f"metric {metric.name} has no bound", "min or max"))
        elif metric.min is not None and metric.max is not None and metric.min > metric.max:
            said = f"spec.analysis.metrics[{index}].min: {metric.min:g} is out of range: at most max, {metric.max:g}"
            found.append(error("P104", policy.at(*loc, "min"), said))
        _check_query(policy, index, metric, source, engine, model, found)


def _check_query(
    policy: Policy[Rollout],
    index: int,
    metric: RolloutMetricSpec,
    source: AnalysisSource,
    engine: RolloutEngine,
    model: Model,
    found: list[Diagnostic],
) -> None:
    loc, known = ("spec", "analysis", "metrics", index), metric.name in BUILT_IN_METRICS
    if metric.query is None:
        if not known:
            said = f"spec.analysis.metrics[{index}].name: '{metric.name}' is not one of {', '.join(BUILT_IN_METRICS)}"
            hint = nearest(metric.name, BUILT_IN_METRICS) or "query: …"
            found.append(error("P103", policy.at(*loc, "name"), said, hint))
        return
    place = policy.at(*loc, "query")
    if known:
        said = f"'query' and the built-in metric '{metric.name}' exclude each other"
        found.append(error("P201", policy.key(*loc, "query"), said, "another name"))
    if source is AnalysisSource.LRS:
        said = "'query' and 'source: lrs' exclude each other"
        found.append(error("P201", policy.key(*loc, "query"), said, "source: prometheus"))
    if problem := query_problem(metric.query, model, engine, place):
        found.append(problem)
