"""What is known of a fleet before the merge, at the borders between well and not well."""

from __future__ import annotations

import pytest

from compiler.prove import prove
from tests.compiler.policies import document, fleet, model


def proofs(*documents: str) -> list[str]:
    return [d.code for d in prove(fleet(*documents))]


def standbys(**tiers: int) -> str:
    numbers = "".join(f", {tier}Standby: {count}" for tier, count in tiers.items())
    return document("DisasterRecovery", "recovery", f"models: [{{name: chat{numbers}}}]")


@pytest.mark.parametrize(
    ("percent", "replicas", "found"), [(50, 1, ["P401"]), (50, 2, []), (33, 3, ["P401"]), (34, 3, []), (100, 1, [])]
)
def test_ejection_needs_a_whole_instance(percent: int, replicas: int, found: list[str]) -> None:
    spec = f"replicas: {replicas}\ntraffic: {{outlierDetection: {{maxEjectionPercent: {percent}}}}}"
    assert proofs(model(spec=spec)) == found


def test_standbys_and_endpoints_count_as_instances() -> None:
    spec = "traffic: {outlierDetection: {maxEjectionPercent: 50}}"
    assert proofs(model(spec=spec), standbys(hot=1)) == []
    two = "endpoints: [{address: 10.0.0.1, port: 1}, {address: 10.0.0.2, port: 1}]"
    assert proofs(model(spec=f"{spec}\n{two}")) == []


def test_ejection_that_is_off_ejects_nothing_on_purpose() -> None:
    spec = "traffic: {outlierDetection: {consecutive5xxErrors: 0, maxEjectionPercent: 0}}"
    assert proofs(model(spec=spec)) == []


@pytest.mark.parametrize(("attempts", "tiers", "found"), [(0, {}, []), (0, {"hot": 1}, ["P438"]), (1, {"hot": 1}, [])])
def test_a_retry_is_needed_for_each_tier_further(attempts: int, tiers: dict[str, int], found: list[str]) -> None:
    spec = f"traffic: {{retries: {{attempts: {attempts}}}}}"
    assert proofs(model(spec=spec), standbys(**tiers)) == found


@pytest.mark.parametrize(
    ("attempts", "errors", "words", "found"),
    [
        (3, 4, "reset,503", ["P439"]),
        (3, 5, "reset,503", []),
        (3, 4, "reset", []),
        (3, 0, "reset,503", []),
    ],
)
def test_one_request_must_not_eject_an_instance(attempts: int, errors: int, words: str, found: list[str]) -> None:
    retries = f"retries: {{attempts: {attempts}, retryOn: '{words}'}}"
    detection = f"outlierDetection: {{consecutive5xxErrors: {errors}}}"
    assert proofs(model(spec=f"traffic: {{{retries}, {detection}}}")) == found


@pytest.mark.parametrize(("limit", "found"), [("16Ki", []), (16 * 1024 - 1, ["P415"])])
def test_a_body_limit_holds_four_bytes_for_each_token(limit: str | int, found: list[str]) -> None:
    assert proofs(model(), document("Gateway", "public", f"maxRequestBytes: {limit}")) == found


def test_a_fleet_of_defaults_has_no_findings() -> None:
    assert proofs(model(), standbys(hot=1, cold=1)) == []
