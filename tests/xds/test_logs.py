"""The log as JSON."""

from __future__ import annotations

import json
import logging
from typing import Any

from compiler.diagnostics import Position, error
from xds import logs


def lines(*args: Any, level: int = logging.INFO, **more: Any) -> dict[str, Any]:
    log, said = logging.Logger("xds.test"), list[str]()
    handler = logging.Handler()
    handler.emit = lambda record: said.append(logs.JsonFormatter().format(record))  # type: ignore[method-assign]
    log.addHandler(handler)
    log.log(level, *args, **more)
    (line,) = said
    assert "\n" not in line
    found: dict[str, Any] = json.loads(line)
    assert found.pop("time").endswith("+00:00")
    return found


def test_what_the_text_calls_key_is_a_field_and_the_rest_is_the_event() -> None:
    said = lines("policy loaded digest=%s models=%d compile_ms=%.0f why=%r", "abc", 2, 12.3456, "it's\nso")
    assert said == {
        "level": "info",
        "event": "policy loaded",
        "digest": "abc",
        "models": 2,
        "compile_ms": 12,
        "why": "it's\nso",
    }


def test_a_value_within_the_events_own_words_stays_there() -> None:
    said = lines("live weights %s model=%s admin=http://%s:%d", "set", "chat", "127.0.0.1", 80)
    assert said == {"level": "info", "event": "live weights set", "model": "chat", "admin": "http://127.0.0.1:80"}


def test_a_text_that_does_not_fit_its_values_is_told_as_it_is() -> None:
    assert lines("100 % sure")["event"] == "100 % sure"
    assert lines("100 %% sure a=%s", 1)["event"] == "100 % sure a=1"
    assert lines("a=%(a)s", {"a": 1})["event"] == "a=1"


def test_an_exception_is_one_line_with_its_traceback() -> None:
    try:
        raise ValueError("bad")
    except ValueError:
        said = lines("stream failed peer=%s", "ipv4:1", level=logging.ERROR, exc_info=True)
    assert (said["level"], said["event"], said["peer"]) == ("error", "stream failed", "ipv4:1")
    assert said["exception"].startswith("Traceback")
    assert said["exception"].endswith("ValueError: bad")


def test_a_problem_of_the_policies_has_its_code_and_place(caplog: Any) -> None:
    logs.tell(error("P202", Position("policies/a.yaml", 3, 5), "too much", "less"))
    (record,) = caplog.records
    assert json.loads(logs.JsonFormatter().format(record)).items() >= {
        ("level", "error"),
        ("event", "policy problem"),
        ("code", "P202"),
        ("file", "policies/a.yaml"),
        ("line", 3),
        ("column", 5),
        ("message", "too much"),
        ("hint", "less"),
    }
