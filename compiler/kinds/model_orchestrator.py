"""ModelOrchestrator: chooses a model for requests that name none, or that name the orchestrator."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from compiler.kinds.traffic import RouteSpec
from compiler.kinds.values import Metadata, Name, Part, Percent, Text, later


class MemberSpec(Part):
    name: Name
    """What rules call it; with `ref`, an alias."""
    ref: Name | None = None
    """The InferenceModel. Default: name."""
    weight: Percent | None = None
    """Share of the default stage: all members have one, or none."""
    capabilities: tuple[Name, ...] | None = later("Added to the model's own.")


class ConditionSpec(Part):
    field: Text
    operator: Literal["eq", "ne", "gt", "ge", "lt", "le", "in", "contains", "prefix", "regex"]
    value: Any


class TargetSpec(Part):
    model: Name
    weight: Percent | None = None


class RuleSpec(Part):
    name: Name | None = None
    """Default: `rule-<n>`."""
    priority: int = 0
    """The highest that matches decides."""
    conditions: tuple[ConditionSpec, ...] = ()
    target: Name | None = None
    targets: Annotated[tuple[TargetSpec, ...], Field(min_length=1)] | None = None
    traffic: RouteSpec | None = None


class HopSpec(Part):
    model: Name
    equivalent_to: tuple[Name, ...] = ()


class FallbackSpec(Part):
    chain: tuple[HopSpec, ...] = ()
    on_explicit_model: Literal["never", "onUnavailable", "always"] = "never"


class RoutingSpec(Part):
    default_model: Name | None = None
    """The member that gets every request no rule decides."""
    prompt_length_unit: Literal["characters", "bytes"] = "characters"
    """What prompt_length counts: code points of all text, content parts too, or their bytes in UTF-8."""
    rules: tuple[RuleSpec, ...] = ()
    """By what else a request chooses a model. They are asked of requests that name none, or the orchestrator."""
    fallback: FallbackSpec | None = later("Models to try when the chosen one has nothing healthy (S27).")


class ModelOrchestratorSpec(Part):
    gateway: Name | None = None
    """Default: the only one."""
    models: Annotated[tuple[MemberSpec, ...], Field(min_length=1)]
    routing: RoutingSpec = RoutingSpec()


class ModelOrchestrator(Part):
    """A choice between models. Its name is a model name for clients: naming it means "you choose"."""

    api_version: Literal["turnout.dev/v1"]
    kind: Literal["ModelOrchestrator"]
    metadata: Metadata
    spec: ModelOrchestratorSpec
