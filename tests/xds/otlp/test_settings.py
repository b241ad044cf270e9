"""OpenTelemetry's variables, as its specification reads them."""

from __future__ import annotations

import pytest

from xds.otlp.settings import Settings, UnfitSettingError, settings

BASE, TRACES = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
SERVICE = {"service.name": "turnout"}


def test_without_an_endpoint_there_are_no_traces() -> None:
    assert settings({}) is None
    assert settings({BASE: "", TRACES: ""}) is None


@pytest.mark.parametrize("off", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_traces_can_be_turned_off(off: dict[str, str]) -> None:
    assert settings({BASE: "http://c:4318", **off}) is None


@pytest.mark.parametrize(
    ("variables", "url"),
    [
        ({BASE: "http://c:4318"}, "http://c:4318/v1/traces"),
        ({BASE: "http://c:4318/"}, "http://c:4318/v1/traces"),
        ({BASE: "https://c/otlp"}, "https://c/otlp/v1/traces"),
        ({BASE: "http://c:4318", TRACES: "http://t:1/x"}, "http://t:1/x"),
    ],
)
def test_the_endpoint_of_traces_is_taken_as_it_is_and_the_common_one_has_a_path_added(
    variables: dict[str, str], url: str
) -> None:
    assert settings(variables) == Settings(url, {}, SERVICE)


def test_headers_and_attributes_are_read_and_those_of_traces_go_before() -> None:
    found = settings(
        {
            BASE: "http://u:p@c:4318",
            "OTEL_EXPORTER_OTLP_HEADERS": "a=1",
            "OTEL_EXPORTER_OTLP_TRACES_HEADERS": "b=2%3D3, c = 4 ,nonsense",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/json",
            "OTEL_RESOURCE_ATTRIBUTES": "service.name=other,deployment.environment.name=prod",
            "OTEL_SERVICE_NAME": "mine",
        }
    )
    assert found is not None
    assert found.headers == {"b": "2=3", "c": "4"}
    assert found.resource == {"service.name": "mine", "deployment.environment.name": "prod"}
    assert found.shown == "http://c:4318/v1/traces"


@pytest.mark.parametrize("url", ["c:4318", "ftp://c", "http://", "http://[x", "http://c:port"])
def test_what_is_no_url_is_refused_without_being_repeated(url: str) -> None:
    with pytest.raises(UnfitSettingError, match=f"^{BASE} is no URL as http://collector:4318$"):
        settings({BASE: url})
