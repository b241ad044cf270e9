"""Tenant: who asks, and what is that tenant's alone."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from compiler.kinds.measures import PositiveUpToADay
from compiler.kinds.part import Document, Part, SecretRef, later
from compiler.kinds.values import Name, Text, refuse

_IN_PLACE = {"secret", "token", "value"}
"""Where people write the secret itself."""


def _no_secret(value: object, keys: set[str] = _IN_PLACE) -> object:
    # It is not repeated: reports end up in logs.
    if isinstance(value, str | int | float) or (isinstance(value, dict) and value.keys() & keys):
        raise refuse("P110", "a secret's value in policy", "secretRef: {name: …, key: …}")
    return value


class ApiKeySource(Part):
    secret_ref: Annotated[SecretRef, BeforeValidator(_no_secret)]
    """The Secret's entry that holds the key."""

    @model_validator(mode="before")
    @classmethod
    def _refers(cls, value: object) -> object:
        return _no_secret(value, {*_IN_PLACE, "key"})


ApiKeySources = Annotated[tuple[ApiKeySource, ...], BeforeValidator(_no_secret)]


class RateLimitSpec(Part):
    requests: Annotated[int, Field(ge=1)]
    """That are let through."""
    per: PositiveUpToADay
    """In which time."""
    models: tuple[Name, ...] = ()
    """Models and orchestrators that count. Empty is all."""


class TenantSpec(Part):
    tier: Name | None = later("One of Platform's tiers; its requests' user_tier. Default: the first.")
    api_keys: ApiKeySources | None = later("Keys by which requests are the tenant's.")
    jwt_claims: tuple[Text, ...] | None = later("Values of a gateway's tenantClaim. Default: the tenant's name.")
    allowed_models: tuple[Name, ...] | None = later("Models and orchestrators it may ask for. Default: all.")
    rate_limits: tuple[RateLimitSpec, ...] | None = later("How many requests it may make.")
    gpu_quota: Annotated[int, Field(ge=0, le=100_000)] | None = None
    """GPUs of the models that are this tenant's alone, standbys too. Default: no limit."""


class Tenant(Document):
    """Who asks. Models that name it as their `tenant` run for it alone, in a namespace of its own."""

    kind: Literal["Tenant"]
    spec: TenantSpec = TenantSpec.model_construct()
    """May be left out: every default then holds."""
