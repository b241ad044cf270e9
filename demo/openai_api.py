"""The shapes of OpenAI's HTTP API, as far as a sample model server answers it.

https://platform.openai.com/docs/api-reference
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Json = dict[str, Any]

DONE = b"data: [DONE]\n\n"
"""What ends a stream of events."""

DIMENSIONS = 8
"""Of an embedding."""


@dataclass(frozen=True, slots=True)
class Completion:
    """One answer to a chat or a completion, before it takes the shape that was asked for."""

    id: str
    model: str
    """The name that the client asked by: engines give that one back."""
    created: int
    """Seconds since 1970."""
    chat: bool
    prompt_tokens: int
    tokens: tuple[str, ...]

    @property
    def usage(self) -> Json:
        completion_tokens = len(self.tokens)
        return {
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": completion_tokens,
            "total_tokens": self.prompt_tokens + completion_tokens,
        }

    def whole(self) -> Json:
        text = "".join(self.tokens)
        choice = {"message": {"role": "assistant", "content": text}} if self.chat else {"text": text}
        kind = "chat.completion" if self.chat else "text_completion"
        return self._document(kind, [self._choice(choice, "stop")]) | {"usage": self.usage}

    def events(self, *, include_usage: bool) -> Iterator[bytes]:
        """The server-sent events of a stream, but for `DONE`: one a token, and one that says why it ends."""
        kind = "chat.completion.chunk" if self.chat else "text_completion"
        for index, token in enumerate(self.tokens):
            yield event(self._document(kind, [self._choice(self._delta(token, first=index == 0), None)]))
        yield event(self._document(kind, [self._choice({"delta": {}} if self.chat else {"text": ""}, "stop")]))
        if include_usage:
            yield event(self._document(kind, []) | {"usage": self.usage})

    def _delta(self, token: str, *, first: bool) -> Json:
        if not self.chat:
            return {"text": token}
        return {"delta": {"role": "assistant", "content": token} if first else {"content": token}}

    def _choice(self, content: Json, finish_reason: str | None) -> Json:
        return {"index": 0, **content, "logprobs": None, "finish_reason": finish_reason}

    def _document(self, kind: str, choices: list[Json]) -> Json:
        return {"id": self.id, "object": kind, "created": self.created, "model": self.model, "choices": choices}


def event(document: Json) -> bytes:
    return b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"


def words(text: str, limit: int) -> tuple[str, ...]:
    """`text` over and over, a word a token, `limit` tokens in all."""
    spaced = (word if index == 0 else f" {word}" for index, word in enumerate(itertools.cycle(text.split())))
    return tuple(itertools.islice(spaced, limit))


def prompt_tokens(request: Mapping[str, Any]) -> int:
    """How long the request's prompt is, a word a token."""
    messages = request.get("messages") or []
    prompt = request.get("prompt") or request.get("input") or ""
    texts = [str(message.get("content", "")) for message in messages] + [str(prompt)]
    return sum(len(text.split()) for text in texts)


def embeddings(model: str, request: Mapping[str, Any]) -> Json:
    given = request.get("input", "")
    inputs = given if isinstance(given, list) else [given]
    usage = {"prompt_tokens": prompt_tokens(request), "total_tokens": prompt_tokens(request)}
    data = [{"object": "embedding", "index": index, "embedding": _vector(str(i))} for index, i in enumerate(inputs)]
    return {"object": "list", "data": data, "model": model, "usage": usage}


def _vector(text: str) -> list[float]:
    """Of length one, and the same for the same text."""
    raw = [math.sin(1 + sum(text.encode()) * (dimension + 1)) for dimension in range(DIMENSIONS)]
    length = math.hypot(*raw)
    return [value / length for value in raw]


def model_list(names: tuple[str, ...]) -> Json:
    return {"object": "list", "data": [model(name) for name in names]}


def model(name: str) -> Json:
    return {"id": name, "object": "model", "created": 0, "owned_by": "turnout-demo"}


def error(message: str, code: str) -> Json:
    return {"error": {"message": message, "type": "server_error", "param": None, "code": code}}
