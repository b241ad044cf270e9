"""DisasterRecovery: standby tiers of models, and the zones they stand in."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from compiler.kinds.values import Count, Duration, Metadata, Name, Part, Positive, later


class RecoverySpec(Part):
    name: Name
    """The InferenceModel."""
    priority: Literal["critical", "high", "normal", "low"] | None = later("Who gets GPUs first.")
    hot_standby: Count = 0
    """Instances that hold the model on their GPUs. All standbys are in addition to the model's replicas."""
    warm_standby: Count = 0
    """Instances with the weights in host memory."""
    cold_standby: Count = 0
    """Instances that start from nothing."""
    rto: Positive | None = later("Longest outage after a fault.")
    rpo: Duration | None = later("Accepted requests that may be lost.")


class AzFailoverSpec(Part):
    strategy: Literal["active-active", "active-passive"] = "active-active"
    active_zones: tuple[Name, ...] = ()
    """Zones of the active tier. Default: all."""
    standby_zone: Name | None = None
    """Zone of every standby tier; active-passive only."""
    health_check_interval: Positive | None = later("Between looks at a zone (10s).")
    failover_threshold: Annotated[int, Field(ge=1)] | None = later("Failed looks before the switch (3).")
    return_after: Positive | None = later("How long a zone must be well before it gets traffic again (5m).")


class FaultTimesSpec(Part):
    detection: Duration | None = None
    switch: Duration | None = None


class FaultModelSpec(Part):
    base: Literal["computed", "sources"] = "computed"
    pod_crash: FaultTimesSpec | None = None
    node_loss: FaultTimesSpec | None = None
    gpu_fault: FaultTimesSpec | None = None
    zone_loss: FaultTimesSpec | None = None
    model_corrupt: FaultTimesSpec | None = None


class DisasterRecoverySpec(Part):
    models: Annotated[tuple[RecoverySpec, ...], Field(min_length=1)]
    az_failover: AzFailoverSpec = AzFailoverSpec()
    fault_model: FaultModelSpec | None = later("How long faults take to be seen and mended.")


class DisasterRecovery(Part):
    """What stands by for which models when instances, nodes or zones are lost."""

    api_version: Literal["turnout.dev/v1"]
    kind: Literal["DisasterRecovery"]
    metadata: Metadata
    spec: DisasterRecoverySpec
