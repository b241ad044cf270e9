"""The length that a real Envoy finds for a prompt is the one that Python counts, whatever the text and its spelling."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from compiler.fleet import LengthUnit, Orchestrator, Target
from compiler.request import MAX_DEPTH, MalformedRequestError, Sent, read_request
from tests.envoy.served import Answer, Served, served
from tests.envoy.upstream import upstreams
from tests.xds.translate.fleets import MI, ORIGIN, endpoint, fleet, model, version

PATH = "/v1/chat/completions"
JSON = (("content-type", "application/json"),)
HEADER = "x-turnout-prompt-length"
LIMIT = 2 * MI + 2048


@pytest.fixture(scope="module", params=list(LengthUnit))
def unit(request: pytest.FixtureRequest) -> LengthUnit:
    chosen: LengthUnit = request.param
    return chosen


@pytest.fixture(scope="module")
def running(unit: LengthUnit, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Everything goes to one upstream, which says what it was sent."""
    with upstreams("a") as servers:
        chat = model("chat", (version(endpoints=(endpoint(servers["a"].port),)),))
        auto = Orchestrator("auto", (), unit, (Target("chat", 100),), ORIGIN)
        of = fleet(chat, orchestrator=auto, max_request_bytes=LIMIT)
        with served(of, tmp_path_factory.mktemp("envoy")) as envoy:
            envoy.wait_for_health("chat_1", [servers["a"].port])
            yield envoy


def counted(body: bytes, unit: LengthUnit) -> str | None:
    length = read_request(Sent("POST", PATH, JSON, body), unit).prompt_length
    return None if length is None else str(length)


def told(answer: Answer) -> str | None:
    """The length that reached the upstream."""
    assert answer.status == 200, answer
    found: str | None = answer.json["headers"].get(HEADER)
    return found


class Members(list[tuple[str, Any]]):
    """An object as it is written: in order, and with keys that are given twice."""


CHARACTERS = st.one_of(
    st.sampled_from('ab "\\/\b\f\n\r\t\x7f'),
    st.sampled_from("é日本語한👍🏽🇩🇪\u200d\ufeff\ufffd\U0010ffff"),
    st.characters(),  # without surrogates, which text cannot hold …
    st.integers(0xD800, 0xDFFF).map(chr),  # … but escapes in JSON can, alone and in pairs
)
TEXTS = st.lists(CHARACTERS, max_size=12).map("".join)
NO_TEXT = st.one_of(
    st.none(), st.booleans(), st.integers(-(10**20), 10**20), st.floats(allow_nan=False, allow_infinity=False)
)


def members(*pairs: st.SearchStrategy[tuple[str, Any]]) -> st.SearchStrategy[Members]:
    return st.lists(st.one_of(*pairs), max_size=4).map(Members)


def member(keys: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[str, Any]]:
    return st.tuples(st.sampled_from(keys.split()), values)


ANYTHING = st.recursive(
    TEXTS | NO_TEXT,
    lambda inner: st.lists(inner, max_size=3) | members(member("text content prompt messages other", inner)),
    max_leaves=6,
)
PART = members(member("type text text", TEXTS), member("text image_url", ANYTHING))
CONTENT = st.one_of(TEXTS, TEXTS, st.lists(PART | ANYTHING, max_size=3), ANYTHING)
MESSAGE = members(member("role content content", CONTENT), member("name tool_calls", ANYTHING))
BODY = members(
    member("messages", st.lists(MESSAGE | ANYTHING, max_size=3)),
    member("prompt input", st.one_of(TEXTS, st.lists(TEXTS | ANYTHING, max_size=3), ANYTHING)),
    member("user stop", ANYTHING),
)


def written(value: Any, chance: random.Random) -> str:
    """JSON, each character spelled in one of its ways."""
    if isinstance(value, str):
        return '"' + "".join(spelled(character, chance) for character in value) + '"'
    space = chance.choice(("", "", " ", "\n\t"))
    if isinstance(value, Members):
        inside = (f"{written(key, chance)}{space}:{space}{written(inner, chance)}" for key, inner in value)
        return "{" + space + f"{space},".join(inside) + "}"
    if isinstance(value, list):
        return "[" + f",{space}".join(written(inner, chance) for inner in value) + space + "]"
    return json.dumps(value)


def spelled(character: str, chance: random.Random) -> str:
    code = ord(character)
    short = {"\b": r"\b", "\f": r"\f", "\n": r"\n", "\r": r"\r", "\t": r"\t", '"': r"\"", "\\": r"\\", "/": r"\/"}
    ways = []
    if code < 0x10000:
        ways.append(f"\\u{code:04x}")
    else:
        high, low = divmod(code - 0x10000, 0x400)
        ways.append(f"\\u{0xD800 + high:04X}\\u{0xDC00 + low:04x}")
    if character in short:
        ways.append(short[character])
    if code >= 0x20 and character not in '"\\' and not 0xD800 <= code < 0xE000:
        ways += [character] * 3
    return chance.choice(ways)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(body=BODY, chance=st.randoms(use_true_random=False))
@example(body=Members([("prompt", "👍🏽\ud83d")]), chance=random.Random(0))
@example(body=Members([("prompt", "\udc4d\ud83d\ud83d")]), chance=random.Random(0))
@example(body=Members([("prompt", "a"), ("prompt", None)]), chance=random.Random(0))
@example(body=Members([("messages", [Members([("content", "a"), ("content", "bc")])])]), chance=random.Random(0))
def test_the_length_is_pythons_own(running: Served, unit: LengthUnit, body: Members, chance: random.Random) -> None:
    sent = written(body, chance).encode()
    assert told(running.ask(sent, PATH)) == counted(sent, unit)


UNITS_OF_2_MIB = {
    "ascii": ("x", 2 * MI),
    "emoji": ("👍", MI // 2),
    "escaped emoji": (r"\ud83d\udc4d", 2 * MI // 12),
    "CJK": ("語", 2 * MI // 3),
    "line breaks": (r"\n", MI),
}


def chunks(body: bytes) -> list[bytes]:
    """Of a prime size, so that they end anywhere in a character or an escape."""
    return [body[start : start + 4099] for start in range(0, len(body), 4099)]


@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "chunked"])
@pytest.mark.parametrize(("text", "times"), UNITS_OF_2_MIB.values(), ids=UNITS_OF_2_MIB)
def test_two_mebibytes_pass_and_are_counted(
    running: Served, unit: LengthUnit, text: str, times: int, chunked: bool
) -> None:
    body = b'{"messages":[{"role":"user","content":"' + (text * times).encode() + b'"}]}'
    assert 2 * MI - 16 < len(body) <= LIMIT
    answer = running.request("POST", PATH, chunks(body) if chunked else body, dict(JSON))
    assert answer.json["size"] == len(body)
    assert told(answer) == counted(body, unit)


@pytest.mark.parametrize("chunked", [False, True], ids=["whole", "chunked"])
def test_a_body_may_be_as_long_as_the_limit_and_no_longer(running: Served, chunked: bool) -> None:
    def send(size: int) -> Answer:
        body = b'{"prompt":"' + b"x" * (size - 13) + b'"}'
        return running.request("POST", PATH, chunks(body) if chunked else body, dict(JSON))

    assert told(send(LIMIT)) == str(LIMIT - 13)
    refused = send(LIMIT + 1)
    assert refused.status == 413
    assert refused.headers["content-type"] == "application/json"
    assert (refused.error["code"], refused.error["type"]) == ("request_too_large", "invalid_request_error")


@pytest.mark.parametrize("depth", [MAX_DEPTH, MAX_DEPTH + 1])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_a_body_may_be_as_deep_for_envoy_as_for_explain(running: Served, depth: int, opening: str) -> None:
    closing = "]" if opening == "[" else "}"
    body = f'{{"prompt": "", "x": {opening * (depth - 1)}1{closing * (depth - 1)}}}'.encode()
    if depth <= MAX_DEPTH:
        assert read_request(Sent("POST", PATH, JSON, body)).prompt_length == 0
        assert running.ask(body, PATH).status == 200
        return
    with pytest.raises(MalformedRequestError, match="over 100 deep"):
        read_request(Sent("POST", PATH, JSON, body))
    assert running.ask(body, PATH).error["code"] == "invalid_json"


def test_a_length_that_a_client_claims_is_not_believed(running: Served) -> None:
    claim: dict[str, str] = {HEADER: "1", "X-Turnout-Prompt-LENGTH": "2"}
    assert told(running.ask({"prompt": "four"}, **claim)) == "4"
    assert told(running.ask({}, **claim)) is None
    assert told(running.request("POST", "/v1/audio", b"", {**claim, "model-name": "chat"})) is None


def test_the_script_never_fails(running: Served) -> None:
    """Last in this file: whatever was sent above, no request met an error of the script."""
    assert "request.lua" not in running.envoy.log()
    assert running.envoy.stats("lua.errors") == {"http.default-8080.lua.errors": 0}
