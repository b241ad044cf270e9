"""Rollout: how a model is moved from one of its versions to another, and what must hold on the way."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from compiler.kinds.measures import Duration, Positive, PositiveUpToADay
from compiler.kinds.part import Document, Part
from compiler.kinds.values import Name, Percent, Shape, Text, Token

Step = Annotated[int, Field(ge=1, le=100)]
Url = Annotated[
    str,
    Shape(
        r"^https?://[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?(/[!-~]*)?\Z",
        "no address of an HTTP server",
        "http://verdicts.ai-inference.svc/llama-70b",
    ),
]


class StickySpec(Part):
    """What keeps a client on its side of the split; one of the two."""

    header: Token | None = None
    """A request header: of a session or a user, never x-request-id, which is new each time."""
    cookie: Token | None = None
    """A cookie. A client that has none is given one, until it is closed."""


class RolloutMetricSpec(Part):
    name: Name
    """success-rate and kv-usage in percent; duration, ttft and queue-wait in milliseconds; or a name for `query`."""
    min: float | None = None
    """The verdict fails below."""
    max: float | None = None
    """The verdict fails above."""
    query: Text | None = None
    """PromQL with one number as its answer: of several series Flagger takes any one. `{{ namespace }}`, `{{ target }}`
    and `{{ interval }}` stand for the namespace, the Deployment that is judged, and the time that a verdict looks back.
    """


class WebhookSpec(Part):
    url: Url
    """Asked for each verdict: any 2xx passes, all else fails."""


class AnalysisSpec(Part):
    source: Literal["lrs", "prometheus", "webhook"] | None = None
    """lrs: load reports of Turnout's own Envoys. Default: lrs; for engine flagger prometheus."""
    threshold: Annotated[int, Field(ge=1, le=1000)] = 3
    """Failed verdicts after which all requests go back. Turnout counts those in a row; Flagger all of a rollout."""
    confidence: Annotated[float, Field(ge=50, le=99.99)] = 95
    """In percent: how sure a verdict must be. How many requests that takes is checked."""
    metrics: Annotated[tuple[RolloutMetricSpec, ...], Field(min_length=1)] | None = None
    """All must hold. Too little data is no pass. Default: success-rate, min 99; none beside a webhook."""
    webhook: WebhookSpec | None = None
    """Who gives the verdict, for source webhook."""


class RolloutSpec(Part):
    model: Name
    """The InferenceModel; each in one rollout at a time."""
    from_: Name
    """The version that has all requests: its committed weight is 100."""
    to: Name
    """The version that is to get them: its committed weight is 0. For engine flagger it may be `from` itself, which
    hands the model to Flagger and moves nothing."""
    strategy: Literal["canary", "blueGreen", "rolling"] = "canary"
    """canary: step by step. blueGreen: all at once, after as many passed verdicts as there are steps. rolling: instance
    by instance."""
    steps: Annotated[tuple[Step, ...], Field(min_length=1)] = (10, 25, 50, 75, 100)
    """Percent of the requests for `to`, rising."""
    interval: PositiveUpToADay = timedelta(seconds=30)
    """From one verdict to the next: a step lasts so long at least."""
    pause_after: tuple[Step, ...] = ()
    """Steps after which it waits until somebody promotes it."""
    shadow_percent: Percent = 0
    """Of the requests that are copied to `to` before it gets any."""
    sticky_by: StickySpec | None = None
    """Keeps a client on its side, at the same ratio."""
    ready_timeout: Positive | None = None
    """How long `to` may take until it is ready. Default: 5m, or the load time and a quarter where that is longer."""
    drain_timeout: Duration | None = None
    """How long requests at work may take to end. Default: 2m."""
    analysis: AnalysisSpec = AnalysisSpec.model_construct()
    """What must hold at each step."""
    engine: Literal["turnout", "flagger"] = "turnout"
    """Who moves it. turnout: the control server, on Turnout's own Envoys. flagger: Flagger, on Istio."""


class Rollout(Document):
    """Moves a model from one of its versions to another, and back when metrics say so."""

    kind: Literal["Rollout"]
    spec: RolloutSpec
    """What moves where, how fast, and what must hold."""
