"""Gateway: where clients' requests come in."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from compiler.kinds.values import Bytes, Cores, HostName, Metadata, Name, Part, Port, SecretRef, Text, later


class TlsSpec(Part):
    secret_ref: SecretRef
    """A Secret with tls.crt and tls.key."""


class ListenerSpec(Part):
    port: Port
    protocol: Literal["HTTP", "HTTPS"] = "HTTP"
    tls: TlsSpec | None = None
    """Required for HTTPS."""


class ApiKeySpec(Part):
    headers: tuple[Text, ...] = ("authorization", "x-api-key")


class JwtSpec(Part):
    issuer: Text
    audiences: tuple[Text, ...] = ()
    jwks_uri: Text | None = None
    jwks: Text | None = None
    tenant_claim: Text = "tenant"


class AuthenticationSpec(Part):
    api_key: ApiKeySpec | None = None
    jwt: JwtSpec | None = None


class GatewayResourcesSpec(Part):
    cpu: Cores | None = None
    memory: Bytes | None = None


class GatewaySpec(Part):
    hosts: Annotated[tuple[HostName, ...], Field(min_length=1)] = ("*",)
    models: tuple[Name, ...] | None = None
    """Models that can be asked for here. Default: all."""
    listeners: Annotated[tuple[ListenerSpec, ...], Field(min_length=1)] = (ListenerSpec(port=8080),)
    authentication: AuthenticationSpec | None = later("Who may ask: until it comes, everybody.")
    max_request_bytes: Annotated[Bytes, Field(ge=1024, le=2**30)] | None = None
    """Larger bodies get 413. Default: 16 bytes for each token of the largest maxSeqLen, 4Mi at least."""
    replicas: Annotated[int, Field(ge=1, le=1000)] | None = later("Envoys that serve it.")
    resources: GatewayResourcesSpec | None = later("Of each of them.")


class Gateway(Part):
    """Hosts, ports and the models behind them. Without one, `default` serves every host on port 8080 over HTTP."""

    api_version: Literal["turnout.dev/v1"]
    kind: Literal["Gateway"]
    metadata: Metadata
    spec: GatewaySpec = GatewaySpec()
