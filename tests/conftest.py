"""What holds for every test: none is skipped in CI, and how many examples the property tests try."""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest
from hypothesis import settings

# No test fails for being slow: the machine may be busy. In CI, hypothesis has a profile of its own that says so too.
settings.register_profile("default", deadline=None)
settings.register_profile("examples", max_examples=5_000, deadline=None)

IN_CI = os.environ.get("CI", "").lower() in {"true", "1"}


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if not hasattr(report, "wasxfail"):
        _fail_if_skipped(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _fail_if_skipped(report)
    return report


def _fail_if_skipped(report: pytest.TestReport | pytest.CollectReport) -> None:
    """A test that quietly stops running in CI is a test that nobody has."""
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped, which CI does not allow: {report.longrepr}"
