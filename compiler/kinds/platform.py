"""Platform: what is the same for the whole fleet. At most one."""

from typing import Annotated, Literal

from pydantic import Field

from compiler.kinds.control_server import ControlServerSpec
from compiler.kinds.inference_model import DefaultsSpec
from compiler.kinds.part import Document, Part, later
from compiler.kinds.repositories import RepositoryText
from compiler.kinds.values import HostName, Image, LabelValue, Name, Namespace, Shape, Text

ReleaseText = Annotated[str, Shape(r"^[0-9]{1,4}\.[0-9]{1,4}\Z", "no release: major.minor", '"1.34"')]


CarrierText = Literal["envoy", "istio", "gatewayApi"]


class DataPlaneSpec(Part):
    """Who carries a host's traffic; one carrier for each host."""

    default: CarrierText = "envoy"
    """envoy: Turnout's own, over xDS. istio: rendered VirtualServices. gatewayApi: rendered HTTPRoutes."""
    hosts: dict[HostName, CarrierText] = Field(default={})
    """Hosts of gateways that another one carries."""
    envoy_image: Image | None = None
    """Of Turnout's own Envoys. Default: envoyproxy/envoy:distroless-v`versions.envoy`.0."""
    gateway_class: Name | None = None
    """The GatewayClass of the implementation that runs gateways of gatewayApi. Required where a host is so carried."""


class VersionsSpec(Part):
    """Of what the rendered objects meet."""

    kubernetes: ReleaseText = "1.34"
    """Of the cluster's API server, in quotes."""
    istio: ReleaseText = "1.28"
    """Of istiod, in quotes."""
    envoy: ReleaseText = "1.40"
    """Of Turnout's own Envoys, in quotes."""


class ImagesSpec(Part):
    registries: tuple[Text, ...] = ()
    """Where images may come from: hosts, or hosts with a path. Empty is anywhere."""
    require_digest: bool = False
    """Whether a tag is not enough: tags can be moved."""


class GpuSpec(Part):
    label: LabelValue
    """The nodes' `nvidia.com/gpu.product`."""
    memory_gi_b: Annotated[int, Field(ge=1, le=4096)]
    """Of one GPU, in GiB."""


class ArgocdSpec(Part):
    repo_url: RepositoryText = Field(alias="repoURL")
    """The repository that holds what is rendered, as Argo CD knows it."""
    target_revision: Text = "main"
    """The branch, tag or commit to sync."""
    path: Annotated[str, Shape(r"^(?!/)(?!.*\.\.)[!-~]+\Z", "no path within a repository", "rendered")] = "rendered"
    """Of the rendered folder in the repository."""
    project: Name = "turnout"
    """Of the AppProject and of the Application; with environments, `<project>-<environment>`."""
    namespace: Namespace = "argocd"
    """Where Argo CD looks for Applications."""
    server: Annotated[
        Text, Shape(r"^https?://[!-~]+\Z", "no address of an API server", "https://kubernetes.default.svc")
    ] = "https://kubernetes.default.svc"
    """The cluster to sync to, by its API server; the default is the one in which Argo CD runs."""


class PrometheusSpec(Part):
    address: Annotated[
        str,
        Shape(
            r"^https?://[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?(:[0-9]{1,5})?(/[!-~]*)?\Z",
            "no address of an HTTP server",
            "http://prometheus.monitoring.svc:9090",
        ),
    ]
    """Where queries are answered, as pods of the cluster reach it."""


class SignedCommitsSpec(Part):
    allowed_signers: Annotated[tuple[Text, ...], Field(min_length=1)]
    """Who may sign the commit after this one: names out of the server's own file, e-mail addresses mostly."""


class TracingSpec(Part):
    otlp: Annotated[
        str,
        Shape(
            r"^(grpc|http)://[A-Za-z0-9]([-A-Za-z0-9.]*[A-Za-z0-9])?:[0-9]{1,5}\Z",
            "no collector: grpc:// or http://, a host and a port",
            "grpc://otel-collector.monitoring.svc:4317",
        ),
    ]
    """The collector that takes spans by OTLP: `grpc://host:4317` or `http://host:4318`."""
    percent: Annotated[float, Field(ge=0, le=100)] = 1
    """Of the requests, to a hundredth; none whose caller says in its `traceparent` that it is not to be."""


class PlatformSpec(Part):
    namespace: Namespace = "ai-inference"
    """Of every rendered object whose policy names none."""
    data_plane: DataPlaneSpec = DataPlaneSpec.model_construct()
    """Who carries which host."""
    versions: VersionsSpec = VersionsSpec.model_construct()
    """What the rendered objects meet; what it cannot do is refused."""
    images: ImagesSpec = ImagesSpec.model_construct()
    """Which images models may run."""
    gpu_catalogue: dict[Text, GpuSpec] = Field(default={})
    """Added to the built-in catalogue; a type of the same name replaces its entry."""
    defaults: DefaultsSpec = DefaultsSpec.model_construct()
    """For all models; a model's own value wins, leaf by leaf."""
    tiers: Annotated[tuple[Name, ...], Field(min_length=1)] = ("free", "pro", "enterprise")
    """Every value that user_tier can have."""
    autoscaler: Literal["hpa", "keda"] = "hpa"
    """What scales replicas. hpa needs prometheus-adapter, whose rules are rendered; keda asks Prometheus itself."""
    prometheus: PrometheusSpec | None = None
    """Where metrics are read. With it, what prometheus-operator and Grafana take in is rendered."""
    tracing: TracingSpec | None = None
    """Where spans go. Without it there are none."""
    argocd: ArgocdSpec | None = None
    """With it, the Argo CD Applications that sync what is rendered are rendered too."""
    control_server: ControlServerSpec | None = None
    """With it, the control server and the Envoys of gateways are rendered too, as they run in the cluster."""
    signed_commits: SignedCommitsSpec | None = None
    """With it, `turnout serve --git` serves only commits that one of its allowed signers has signed."""
    staged_config: Literal["disabled", "enabled", "automatic"] | None = later("Whether a few Envoys go first.")


class Platform(Document):
    """What is the same for the whole fleet."""

    kind: Literal["Platform"]
    spec: PlatformSpec = PlatformSpec.model_construct()
    """Every field has a default."""
