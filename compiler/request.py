"""A request as routing sees it: what the body pass finds, and nothing else."""

from __future__ import annotations

import argparse
import json
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import unquote, urlsplit

from compiler.envoy.request_pass import INTERNAL_PREFIX
from compiler.fleet import LengthUnit

MAX_DEPTH = 100
"""Lists and maps within each other; the gateway's pass reads no deeper."""
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
OPENAI_PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")
MODELS_PATH = "/v1/models"
MOST_CAPABILITIES = 64
"""That one request may ask for; more is refused, as sorting and sending on a million names would cost too much."""
MOST_METADATA_BYTES = 256
"""Of an entry of `metadata`; a longer one, or one with control characters, fits no header and counts as absent."""
TIER_HEADER = "x-user-tier"
MODEL_NAME_HEADER = "model-name"
HOP_HEADERS = ("connection", "content-length", "host", "te", "transfer-encoding", "x-request-id")
HOP_PREFIXES = ("x-envoy-", "x-forwarded-")
"""Of headers that proxies set or take away: what a rule would see is not what the client has sent."""
_CAPABILITY = re.compile(r"[a-z0-9][a-z0-9.-]{0,39}\Z")


@dataclass(frozen=True, slots=True)
class Request:
    host: str = "*"
    """Without the port."""
    method: str = "POST"
    path: str = "/v1/chat/completions"
    """Without the query."""
    headers: Mapping[str, str | tuple[str, ...]] = field(default_factory=dict)
    """By name in lower case; of a header that is given more than once, each value."""
    model: str | None = None
    """From the header `model-name`, else the path, else the body; `None` where none of them names one."""
    prompt_length: int | None = None
    """Code points of all its text; `None` for a request without a prompt."""
    max_tokens: int | None = None
    capabilities: frozenset[str] = frozenset()
    metadata: Mapping[str, str] = field(default_factory=dict)
    stream: bool = False

    @property
    def user_tier(self) -> str | None:
        """For people: all values, where there are several."""
        return joined(self.headers, TIER_HEADER) or None


class MalformedRequestError(ValueError):
    """A body that is answered 400 before any route is asked; the text says why."""


@dataclass(frozen=True, slots=True)
class Sent:
    """A request as a client sends it."""

    method: str
    path: str
    """With its query, if there is one."""
    headers: tuple[tuple[str, str], ...]
    """Names in lower case."""
    body: bytes

    @property
    def host(self) -> str:
        """Without the port, in lower case; empty where no header names one."""
        return re.sub(r":\d+\Z", "", dict(self.headers).get("host", "")).lower()


def parse_curl(line: str) -> Sent:
    """The request that a curl command sends. Raises ValueError for what is no curl command, or takes files."""
    words = shlex.split(line)
    if words[:1] != ["curl"]:
        raise ValueError("a curl line begins with curl")
    parser = argparse.ArgumentParser(prog="curl", add_help=False, exit_on_error=False)
    parser.add_argument("url")
    parser.add_argument("-X", "--request")
    parser.add_argument("-H", "--header", action="append", default=[])
    parser.add_argument("-d", "--data", "--data-raw", "--data-binary", "--json", action="append", default=[])
    try:
        known, _ = parser.parse_known_args(words[1:])  # -s, -N and their like do not change what is sent
    except (argparse.ArgumentError, SystemExit) as problem:
        raise ValueError(f"not understood as a curl line: {problem}") from None
    if any(part.startswith("@") for part in known.data):
        raise ValueError("a body from a file: --body FILE")
    url = urlsplit(known.url if "//" in known.url else f"//{known.url}")
    given = [(name.strip().lower(), value.strip()) for name, colon, value in (h.partition(":") for h in known.header)]
    host = [] if any(name == "host" for name, _ in given) else [("host", url.netloc)]
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    method = known.request or ("POST" if known.data else "GET")
    return Sent(method, path, (*host, *given), "&".join(known.data).encode())


def read_request(sent: Sent, length_unit: LengthUnit = LengthUnit.CHARACTERS, *, reads_body: bool = True) -> Request:
    """What the gateway's pass over a request finds in it. Raises MalformedRequestError.

    The body is read where it is JSON: on OpenAI's paths always, elsewhere by content-type. Without a pass nobody does.
    """
    method, body = sent.method, sent.body
    plain_path = re.split(r"[?#]", sent.path, maxsplit=1)[0]
    headers = _headers(sent)
    bare = Request(host=sent.host or "*", method=method, path=plain_path, headers=headers)
    if plain_path == MODELS_PATH:
        return bare  # the list of models, whatever else the request says
    document: Mapping[str, Any] = {}
    if reads_body and method == "POST" and (plain_path in OPENAI_PATHS or _is_json(joined(headers, "content-type"))):
        document = _document(body, plain_path in OPENAI_PATHS)
    return replace(
        bare,
        model=joined(headers, MODEL_NAME_HEADER) or path_model(plain_path) or _body_model(document),
        prompt_length=_prompt_length(document, length_unit),
        max_tokens=_whole(document.get("max_tokens"), document.get("max_completion_tokens")),
        capabilities=_capabilities(joined(headers, "x-capability"), document.get("capabilities")),
        metadata=_metadata(document.get("metadata")),
        stream=document.get("stream") is True,
    )


def without_body(request: Request) -> tuple[Request, ...]:
    """What is left of it for a proxy that does not read bodies and matches longer paths first.

    Once by the name in the path and once by that in the header, where there are such: the second counts where nothing
    comes of the first.
    """
    headers = {name: joined(request.headers, name) for name in request.headers}
    names = [name for name in (path_name(request.path), headers.get(MODEL_NAME_HEADER)) if name]
    return tuple(Request(request.host, request.method, request.path, headers, name) for name in names or (None,))


def path_name(path: str) -> str | None:
    """What the path calls the model, as it is written there."""
    found = re.match(r"/v1/models/([^/]+)", path)
    return found[1] if found else None


def path_model(path: str) -> str | None:
    """The same, read as a URL: `%30` is 0."""
    name = path_name(path)
    return None if name is None else unquote(name)


def joined(headers: Mapping[str, str | tuple[str, ...]], name: str) -> str:
    """As HTTP reads a header that is given more than once; empty for none."""
    value = headers.get(name, "")
    return value if isinstance(value, str) else ",".join(value)


def _headers(sent: Sent) -> dict[str, str | tuple[str, ...]]:
    """Without those that a client cannot set."""
    values: dict[str, list[str]] = {}
    for name, value in sent.headers:
        if not name.startswith(INTERNAL_PREFIX):
            values.setdefault(name, []).append(value)
    return {name: several[0] if len(several) == 1 else tuple(several) for name, several in values.items()}


def _capabilities(header: str, listed: Any) -> frozenset[str]:
    parts = [part for part in ",".join([header, *_strings(listed)]).split(",") if part]
    if len(parts) > MOST_CAPABILITIES:
        raise MalformedRequestError(f"The request asks for more than {MOST_CAPABILITIES} capabilities")
    return frozenset(name for part in parts if _CAPABILITY.match(name := part.strip(" \t")))


def _metadata(entries: Any) -> dict[str, str]:
    """Only strings are entries, as in OpenAI's API; for half a surrogate pair stands the replacement character."""
    given = entries.items() if isinstance(entries, dict) else ()
    texts = ((key, re.sub("[\ud800-\udfff]", "\ufffd", value)) for key, value in given if isinstance(value, str))
    return {key: text for key, text in texts if _fits_a_header(text)}


def _fits_a_header(value: str) -> bool:
    short = len(value.encode()) <= MOST_METADATA_BYTES
    return short and not re.search(r"[\x00-\x1f\x7f]", value)


def _document(body: bytes, required: bool) -> Mapping[str, Any]:
    if not body and not required:
        return {}
    try:
        document = json.loads(body.decode(), parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as problem:
        raise MalformedRequestError(f"The request body is not valid JSON: {problem}") from None
    if _is_deeper(document, MAX_DEPTH):
        raise MalformedRequestError(f"The request body is not valid JSON: nested over {MAX_DEPTH} deep")
    if not isinstance(document, dict):
        if required:
            raise MalformedRequestError("The request body is not a JSON object")
        return {}
    return document


def _is_deeper(document: Any, limit: int) -> bool:
    level = [document]
    for _ in range(limit + 1):
        level = [value for value in level if isinstance(value, dict | list)]
        if not level:
            return False
        level = [inner for value in level for inner in (value.values() if isinstance(value, dict) else value)]
    return True


def _refuse_constant(name: str) -> None:
    """Python reads NaN and Infinity; JSON has neither."""
    raise ValueError(f"unexpected {name}")


def _body_model(document: Mapping[str, Any]) -> str | None:
    """Null and the empty string name nothing."""
    model = document.get("model")
    if model is not None and not isinstance(model, str):
        raise MalformedRequestError("model is not a string")
    return model or None


def _prompt_length(document: Mapping[str, Any], unit: LengthUnit) -> int | None:
    prompts = [key for key in ("messages", "prompt", "input") if key in document]
    if not prompts:
        return None
    texts = [text for key in prompts for text in _texts(key, document[key])]
    # Half a surrogate pair counts as the replacement character that stands for it: three bytes.
    return sum(
        len(text) if unit is LengthUnit.CHARACTERS else len(text.encode(errors="surrogatepass")) for text in texts
    )


def _texts(key: str, value: Any) -> Iterator[str]:
    """The text of a chat's messages, in one piece or in parts; of a completion's prompt; of what is to be embedded."""
    if key != "messages":
        yield from [value] if isinstance(value, str) else _strings(value)
        return
    for message in value if isinstance(value, list) else ():
        content = message.get("content") if isinstance(message, dict) else None
        if isinstance(content, str):
            yield content
        for part in content if isinstance(content, list) else ():
            if isinstance(part, dict) and isinstance(part.get("text"), str):
                yield part["text"]


def _strings(value: Any) -> Iterator[str]:
    return (item for item in value if isinstance(item, str)) if isinstance(value, list) else iter(())


def _whole(*values: Any) -> int | None:
    """The first that is a whole number, from 0."""
    whole = (v for v in values if isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 10**15)
    return next(whole, None)


def _is_json(content_type: str) -> bool:
    subtype = re.match(r"\s*application/([^\s;]+)", content_type.lower())
    return subtype is not None and (subtype[1] == "json" or subtype[1].endswith("+json"))
