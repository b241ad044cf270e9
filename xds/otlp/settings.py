"""Where traces go, by OpenTelemetry's own environment variables.

https://opentelemetry.io/docs/specs/otel/protocol/exporter/
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit

SERVICE = "turnout"
PROTOCOL = "http/json"


class UnfitSettingError(ValueError):
    """An environment variable says something that cannot be done. The text names it, and no secret."""


@dataclass(frozen=True, slots=True)
class Settings:
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    """They may hold secrets."""
    resource: Mapping[str, str] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """The URL without what may be secret in it."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def settings(environment: Mapping[str, str]) -> Settings | None:
    """`None` where no traces are wanted. Raises UnfitSettingError."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    name = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
    url = environment.get(name, "")
    if not url:
        name = "OTEL_EXPORTER_OTLP_ENDPOINT"
        base = environment.get(name, "")
        url = f"{base.rstrip('/')}/v1/traces" if base else ""
    if not url:
        return None
    _checked(name, url)
    protocol = _of_traces(environment, "PROTOCOL")
    if protocol not in ("", PROTOCOL):
        raise UnfitSettingError(f"OTEL_EXPORTER_OTLP_PROTOCOL is {protocol!r}: traces are sent as {PROTOCOL} only")
    return Settings(url, _pairs(_of_traces(environment, "HEADERS")), _resource(environment))


def _checked(name: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        fit = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        fit = False
    if not fit:
        raise UnfitSettingError(f"{name} is no URL as http://collector:4318")


def _of_traces(environment: Mapping[str, str], what: str) -> str:
    """What is said of traces goes before what is said of all signals."""
    every = environment.get(f"OTEL_EXPORTER_OTLP_{what}", "")
    return environment.get(f"OTEL_EXPORTER_OTLP_TRACES_{what}", "") or every


def _resource(environment: Mapping[str, str]) -> dict[str, str]:
    found = {"service.name": SERVICE} | _pairs(environment.get("OTEL_RESOURCE_ATTRIBUTES", ""))
    if service := environment.get("OTEL_SERVICE_NAME"):
        found["service.name"] = service
    return found


def _pairs(text: str) -> dict[str, str]:
    """`key=value,key=value`, values as in URLs."""
    pairs = (entry.partition("=") for entry in text.split(",") if "=" in entry)
    return {key.strip(): unquote(value.strip()) for key, _, value in pairs}
