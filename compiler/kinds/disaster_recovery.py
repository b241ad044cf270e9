"""DisasterRecovery: standby tiers of models, and the zones they stand in."""

from typing import Annotated, Literal

from pydantic import Field

from compiler.kinds.measures import Duration, Positive
from compiler.kinds.part import Document, Part, later
from compiler.kinds.values import Count, Name


class RecoverySpec(Part):
    name: Name
    """The InferenceModel."""
    priority: Literal["critical", "high", "normal", "low"] = "normal"
    """Who gets GPUs first, and takes them from lower ones when there are too few. Models with no entry are normal."""
    hot_standby: Count = 0
    """Instances that hold the model on their GPUs. All standbys are in addition to the model's replicas."""
    warm_standby: Count = 0
    """Instances with the weights in host memory."""
    cold_standby: Count = 0
    """Instances that load the weights from storage when they are needed."""
    rto: Positive | None = None
    """Longest time without a healthy instance that is promised. A longer one is an alert, with Platform.prometheus."""
    rpo: Duration | None = later("Accepted requests that may be lost.")


class AzFailoverSpec(Part):
    strategy: Literal["active-active", "active-passive"] = "active-active"
    """active-active: every tier in every zone. active-passive: standbys stand in a zone of their own."""
    active_zones: tuple[Name, ...] = ()
    """Zones of the active tier. Empty is all."""
    standby_zone: Name | None = None
    """Zone of every standby tier; active-passive only."""
    health_check_interval: Positive | None = later("Between looks at a zone (10s).")
    failover_threshold: Annotated[int, Field(ge=1)] | None = later("Failed looks before the switch (3).")
    return_after: Positive | None = later("How long a zone must be well before it gets traffic again (5m).")


class FaultTimesSpec(Part):
    """Measured times of one kind of fault."""

    detection: Duration | None = None
    """From the fault until it is seen. Default: from `base`."""
    switch: Duration | None = None
    """From then until a survivor answers. Default: from `base`."""


class FaultModelSpec(Part):
    base: Literal["computed", "sources"] = "computed"
    """computed: from the fleet's own probes and tiers. sources: fixed times, whatever standbys there are."""
    pod_crash: FaultTimesSpec | None = None
    """An instance dies."""
    node_loss: FaultTimesSpec | None = None
    """A node dies with all its instances."""
    gpu_fault: FaultTimesSpec | None = None
    """A GPU fails while its instance still listens."""
    zone_loss: FaultTimesSpec | None = None
    """A zone is lost, or cut off."""
    model_corrupt: FaultTimesSpec | None = None
    """The weights are damaged: every instance that has loaded them fails."""


class DisasterRecoverySpec(Part):
    models: Annotated[tuple[RecoverySpec, ...], Field(min_length=1)]
    """Models with standbys; each in one entry of one policy."""
    az_failover: AzFailoverSpec = AzFailoverSpec.model_construct()
    """Which tier runs in which zone."""
    fault_model: FaultModelSpec | None = later("How long faults take to be seen and mended.")


class DisasterRecovery(Document):
    """What stands by for which models when instances, nodes or zones are lost."""

    kind: Literal["DisasterRecovery"]
    spec: DisasterRecoverySpec
    """Standbys by model, and zones."""
