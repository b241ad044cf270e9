"""ModelOrchestrator: chooses a model for requests that name none, or that name the orchestrator."""

from typing import Annotated, Any, Literal

from pydantic import Field

from compiler.kinds.part import Document, Part
from compiler.kinds.traffic import RouteSpec
from compiler.kinds.values import Name, Percent, Text


class MemberSpec(Part):
    name: Name
    """What rules call it; with `ref`, an alias."""
    ref: Name | None = None
    """The InferenceModel. Default: name."""
    weight: Percent | None = None
    """Share of the default stage in percent: all members have one, summing to 100, or none."""
    capabilities: tuple[Name, ...] = ()
    """Added to the model's own."""


class ConditionSpec(Part):
    field: Text
    """`model`, `user_tier`, `capability`, `prompt_length`, `max_tokens`, `stream`, `path`, `method`, `header.<name>` or
    `metadata.<key>`."""
    operator: Literal["eq", "ne", "gt", "ge", "lt", "le", "in", "contains", "prefix", "regex"]
    """How the field is compared; a field that is absent makes every condition false, ne too."""
    value: Any
    """Of the field's type; a list for in."""


class TargetSpec(Part):
    model: Name
    """A member."""
    weight: Percent | None = None
    """Share in percent; all targets sum to 100. One target alone may leave it out."""


class RuleSpec(Part):
    name: Name | None = None
    """Default: `rule-<n>`."""
    priority: int = 0
    """The highest that matches decides."""
    conditions: tuple[ConditionSpec, ...] = ()
    """All must hold. None is always."""
    target: Name | None = None
    """The member; this or `targets`."""
    targets: Annotated[tuple[TargetSpec, ...], Field(min_length=1)] | None = None
    """Members with weights."""
    traffic: RouteSpec | None = None
    """Retries, timeouts, mirror and fault of the rule's own requests."""


class HopSpec(Part):
    """A model that answers when the one that was chosen has nothing healthy. It serves the names asked for, too."""

    model: Name
    """A member."""
    equivalent_to: tuple[Name, ...] = ()
    """Members that a client may have asked for by name and be answered by this one."""


class FallbackSpec(Part):
    chain: tuple[HopSpec, ...] = ()
    """In the order in which they are tried; never after the first byte of an answer."""
    on_explicit_model: Literal["never", "onUnavailable", "always"] = "never"
    """For a client that named its model: never another; hops equivalent to it; or any hop, for unknown names too."""


class RoutingSpec(Part):
    default_model: Name | None = None
    """The member that gets every request that names no model and that no rule decides."""
    prompt_length_unit: Literal["characters", "bytes"] = "characters"
    """What prompt_length counts: code points of all text, content parts too, or their bytes in UTF-8."""
    rules: tuple[RuleSpec, ...] = ()
    """By what else a request chooses a model. They are asked of requests that name none, or the orchestrator."""
    fallback: FallbackSpec = FallbackSpec.model_construct()
    """Models to try when the chosen one has nothing healthy."""


class ModelOrchestratorSpec(Part):
    gateway: Name | None = None
    """Where it chooses. Default: the only one."""
    models: Annotated[tuple[MemberSpec, ...], Field(min_length=1)]
    """The members it chooses from. Their weights say that they may stand for each other."""
    routing: RoutingSpec = RoutingSpec.model_construct()
    """How it chooses."""


class ModelOrchestrator(Document):
    """A choice between models. Its name is a model name for clients: naming it means "you choose"."""

    kind: Literal["ModelOrchestrator"]
    spec: ModelOrchestratorSpec
    """Between which models, and how."""
