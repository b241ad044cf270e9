"""OpenAI's own client, unchanged, through a real Envoy by model name."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from tests.envoy.live import Live, live


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    with live(tmp_path_factory.mktemp("openai"), "delta") as served:
        yield served


@pytest.fixture
def client(fleet: Live) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{fleet.envoy.url}/v1", api_key="none", max_retries=0) as client:
        yield client


def messages() -> list[openai.types.chat.ChatCompletionMessageParam]:
    return [{"role": "user", "content": "Who are you?"}]


@pytest.mark.parametrize("model", ["split", "tiers", "auto"])
def test_a_chat_is_answered_by_the_model_it_names(client: openai.OpenAI, model: str) -> None:
    answer = client.chat.completions.create(model=model, messages=messages())
    assert answer.model == model
    assert ("tiers" if model == "auto" else model) in str(answer.choices[0].message.content)


def test_a_chat_streams(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(model="split", messages=messages(), stream=True))
    words = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert len(chunks) > 3
    assert "split" in words


def test_a_completion_and_its_stream(client: openai.OpenAI) -> None:
    assert "tiers" in client.completions.create(model="tiers", prompt="Who?").choices[0].text
    stream = client.completions.create(model="tiers", prompt="Who?", stream=True)
    assert "tiers" in "".join(chunk.choices[0].text for chunk in stream if chunk.choices)


def test_embeddings(client: openai.OpenAI) -> None:
    assert len(client.embeddings.create(model="split", input=["one", "two"]).data) == 2


def test_the_models_of_the_gateway_are_listed(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["auto", "split", "tiers"]


def test_an_unknown_model_is_not_found_in_the_words_of_openai(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as refused:
        client.chat.completions.create(model="gpt-5", messages=messages())
    assert refused.value.code == "model_not_found"
    assert "gpt-5" in str(refused.value)


def test_who_answered_is_told_in_headers(client: openai.OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model="tiers", messages=messages())
    assert (raw.headers["x-turnout-model"], raw.headers["x-turnout-version"]) == ("tiers", "1")
