"""The sample model server speaks OpenAI's API well enough for OpenAI's own client, and minds its manners."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from demo.model_server import Manners, changed, seconds

USUAL = {"answer_time": "0s", "first_token": "0s", "token_interval": "0s", "tokens": 12, "healthy": True, "status": 200}


@pytest.fixture
def client(url: str) -> Iterator[openai.OpenAI]:
    control(url, USUAL)
    with openai.OpenAI(base_url=f"{url}/v1", api_key="none", max_retries=0) as opened:
        yield opened
    control(url, USUAL)


def control(url: str, wanted: dict[str, Any]) -> None:
    request = urllib.request.Request(f"{url}/control", json.dumps(wanted).encode(), method="POST")
    with urllib.request.urlopen(request, timeout=5) as response:
        assert response.status == 200


def test_a_chat_names_the_instance_in_its_text_and_its_headers(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "Who are you?"}]
    raw = client.chat.completions.with_raw_response.create(model="llama-70b", messages=messages)
    named = {name: value for name, value in raw.headers.items() if name.startswith("x-instance-")}
    assert named == {
        "x-instance-model": "llama-70b",
        "x-instance-version": "1.1",
        "x-instance-tier": "hot",
        "x-instance-zone": "az-3",
    }
    answer = raw.parse()
    assert answer.model == "llama-70b"
    assert answer.choices[0].finish_reason == "stop"
    assert (answer.choices[0].message.content or "").startswith("This is llama-70b 1.1 (hot, az-3).")
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (3, 12, 15)


def test_a_streamed_chat_has_a_chunk_for_each_token_and_says_why_it_ends(client: openai.OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "Who are you?"}]
    stream = client.chat.completions.create(
        model="llama-70b", messages=messages, stream=True, max_tokens=3, stream_options={"include_usage": True}
    )
    chunks = list(stream)
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert deltas[0].role == "assistant"
    assert [delta.content for delta in deltas] == ["This", " is", " llama-70b", None]
    assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices] == [None, None, None, "stop"]
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 3


def test_completions_come_whole_and_as_a_stream(client: openai.OpenAI) -> None:
    whole = client.completions.create(model="llama-70b", prompt="Who?", max_tokens=2)
    assert whole.choices[0].text == "This is"
    stream = client.completions.create(model="llama-70b", prompt="Who?", max_tokens=2, stream=True)
    assert "".join(chunk.choices[0].text for chunk in stream) == "This is"


def test_an_embedding_is_of_length_one_and_the_same_for_the_same_text(client: openai.OpenAI) -> None:
    answer = client.embeddings.create(model="bge", input=["one", "two", "one"])
    first, second, third = (item.embedding for item in answer.data)
    assert first == third != second
    assert sum(value * value for value in first) == pytest.approx(1)


def test_its_model_is_listed_and_found_by_name(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["llama-70b"]
    assert client.models.retrieve("llama-70b").id == "llama-70b"


def test_a_request_may_name_its_model_in_the_path(client: openai.OpenAI, url: str) -> None:
    with openai.OpenAI(base_url=f"{url}/v1/models/llama-70b", api_key="none", max_retries=0) as by_path:
        assert by_path.completions.create(model="llama-70b", prompt="Who?", max_tokens=1).choices[0].text == "This"


def test_it_fails_when_it_is_told_to(client: openai.OpenAI, url: str) -> None:
    control(url, {"status": 503})
    with pytest.raises(openai.InternalServerError, match="told to fail"):
        client.completions.create(model="llama-70b", prompt="Who?")


def test_an_unhealthy_one_says_so_and_works_on(client: openai.OpenAI, url: str) -> None:
    control(url, {"healthy": False})
    with pytest.raises(urllib.error.HTTPError, match="503"):
        urllib.request.urlopen(f"{url}/health", timeout=5)
    assert client.completions.create(model="llama-70b", prompt="Who?").choices[0].finish_reason == "stop"


def test_an_answer_takes_as_long_as_it_is_told_to(client: openai.OpenAI, url: str) -> None:
    control(url, {"answer_time": "5s"})
    with pytest.raises(openai.APITimeoutError):
        client.completions.create(model="llama-70b", prompt="Who?", timeout=0.3)


@pytest.mark.parametrize("wanted", [{"unknown": 1}, {"answer_time": "5"}, {"healthy": 1}, {"status": True}])
def test_manners_it_has_not_got_are_refused(url: str, wanted: dict[str, Any]) -> None:
    with pytest.raises(urllib.error.HTTPError, match="400"):
        control(url, wanted)


def test_durations_carry_their_unit() -> None:
    assert (seconds("5ms"), seconds("0.5s")) == (0.005, 0.5)
    assert changed(Manners(), {"answer_time": "20ms", "first_token": 1}) == Manners(answer_time=0.02, first_token=1)
