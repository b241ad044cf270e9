"""Platform: what is the same for the whole fleet. At most one."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from compiler.kinds.inference_model import DefaultsSpec
from compiler.kinds.values import HostName, LabelValue, Metadata, Name, Namespace, Part, Shape, Text, later

ReleaseText = Annotated[str, Shape(r"^[0-9]{1,4}\.[0-9]{1,4}\Z", "no release: major.minor", '"1.34"')]
CarrierText = Literal["envoy", "istio"]


class DataPlaneSpec(Part):
    """Who carries a host's traffic; one carrier for each host."""

    default: CarrierText = "envoy"
    hosts: dict[HostName, CarrierText] = Field(default={})


class VersionsSpec(Part):
    """Of what the rendered objects meet."""

    kubernetes: ReleaseText = "1.34"
    istio: ReleaseText = "1.28"
    envoy: ReleaseText = "1.40"


class ImagesSpec(Part):
    registries: tuple[Text, ...] = ()
    """Where images may come from; empty is anywhere."""
    require_digest: bool = False


class GpuSpec(Part):
    label: LabelValue
    """The nodes' `nvidia.com/gpu.product`."""
    memory_gi_b: Annotated[int, Field(ge=1, le=4096)]


class PlatformSpec(Part):
    namespace: Namespace = "ai-inference"
    data_plane: DataPlaneSpec = DataPlaneSpec()
    versions: VersionsSpec = VersionsSpec()
    images: ImagesSpec = ImagesSpec()
    gpu_catalogue: dict[Text, GpuSpec] = Field(default={})
    """Added to the built-in catalogue; a type of the same name replaces its entry."""
    defaults: DefaultsSpec = DefaultsSpec()
    """A model's own value wins, leaf by leaf."""
    tiers: Annotated[tuple[Name, ...], Field(min_length=1)] = ("free", "pro", "enterprise")
    """Every value that user_tier can have."""
    autoscaler: Literal["hpa", "keda"] | None = later("What scales replicas.")
    prometheus: dict[str, Any] | None = later("Where metrics are read.")
    tracing: dict[str, Any] | None = later("Where spans go.")
    argocd: dict[str, Any] | None = later("The Application that syncs rendered/.")
    signed_commits: dict[str, Any] | None = later("Whose commits are served.")
    staged_config: Literal["disabled", "enabled", "automatic"] | None = later("Whether a few Envoys go first.")


class Platform(Part):
    """What is the same for the whole fleet."""

    api_version: Literal["turnout.dev/v1"]
    kind: Literal["Platform"]
    metadata: Metadata
    spec: PlatformSpec = PlatformSpec()
