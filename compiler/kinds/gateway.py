"""Gateway: where clients' requests come in."""

from typing import Annotated, Literal

from pydantic import Field

from compiler.kinds.measures import Bytes, Cores
from compiler.kinds.part import Document, Part, SecretRef, later
from compiler.kinds.values import HostName, Name, Port, Text


class TlsSpec(Part):
    secret_ref: SecretRef
    """A Secret with tls.crt and tls.key."""


class ListenerSpec(Part):
    port: Port
    """1-65535; each once in a gateway."""
    protocol: Literal["HTTP", "HTTPS"] = "HTTP"
    """HTTPS needs `tls`."""
    tls: TlsSpec | None = None
    """The certificate. Required for HTTPS, refused for HTTP."""


class ApiKeySpec(Part):
    headers: tuple[Text, ...] = ("authorization", "x-api-key")
    """Where a client may put its key."""


class JwtSpec(Part):
    issuer: Text
    """The `iss` of a valid token."""
    audiences: tuple[Text, ...] = ()
    """Values of `aud`, one of which is enough. Empty is any."""
    jwks_uri: Text | None = None
    """Where the issuer's keys are read; this or `jwks`."""
    jwks: Text | None = None
    """The issuer's keys themselves, as JSON."""
    tenant_claim: Text = "tenant"
    """The claim that names the tenant."""


class AuthenticationSpec(Part):
    api_key: ApiKeySpec | None = None
    """Keys of tenants, in a header."""
    jwt: JwtSpec | None = None
    """Signed tokens of one issuer."""


class GatewayResourcesSpec(Part):
    cpu: Cores = Field(default=1000, json_schema_extra={"default": "1"})
    """Cores: `2`, or `500m`. Envoy has a thread for each that is begun."""
    memory: Annotated[Bytes, Field(ge=1)] = Field(default=2**30, json_schema_extra={"default": "1Gi"})
    """What it may take at most, bodies that are held until they are whole among it."""


class GatewaySpec(Part):
    hosts: Annotated[tuple[HostName, ...], Field(min_length=1)] = ("*",)
    """Domains, `*.domain`, or `*` for any; each at one gateway. Platform says who carries them."""
    models: tuple[Name, ...] | None = None
    """Models that can be asked for here. Default: all."""
    listeners: Annotated[tuple[ListenerSpec, ...], Field(min_length=1)] = (ListenerSpec.model_construct(port=8080),)
    """Ports, each with its protocol."""
    authentication: AuthenticationSpec | None = later("Who may ask: until it comes, everybody.")
    max_request_bytes: Annotated[Bytes, Field(ge=1024, le=2**30)] | None = None
    """Larger bodies get 413. Default: 16 bytes for each token of the largest maxSeqLen, 4Mi at least."""
    replicas: Annotated[int, Field(ge=1, le=1000)] = 2
    """Envoys of Turnout's own that serve it, where Platform has a `controlServer`."""
    resources: GatewayResourcesSpec = GatewayResourcesSpec.model_construct()
    """Of each of them."""
    service_type: Literal["ClusterIP", "LoadBalancer", "NodePort"] = "ClusterIP"
    """Who reaches them: the cluster, or others too."""


class Gateway(Document):
    """Hosts, ports and the models behind them. Without one, `default` serves every host on port 8080 over HTTP."""

    kind: Literal["Gateway"]
    spec: GatewaySpec = GatewaySpec.model_construct()
    """Hosts, ports and models. May be left out: every default then holds."""
