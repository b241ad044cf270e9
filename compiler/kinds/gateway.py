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
    cpu: Cores | None = None
    """Cores: `2`, or `500m`. Default: 1."""
    memory: Bytes | None = None
    """Default: 1Gi."""


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
    replicas: Annotated[int, Field(ge=1, le=1000)] | None = later("Envoys that serve it.")
    resources: GatewayResourcesSpec | None = later("Of each of them.")


class Gateway(Document):
    """Hosts, ports and the models behind them. Without one, `default` serves every host on port 8080 over HTTP."""

    kind: Literal["Gateway"]
    spec: GatewaySpec = GatewaySpec.model_construct()
    """Hosts, ports and models. May be left out: every default then holds."""
