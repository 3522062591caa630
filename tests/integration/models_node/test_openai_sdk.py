"""OpenAI's own SDK against the running server and real engines: what its users use, works."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy
import openai
import pytest
from openai import OpenAI

from models_node.catalogue import read_catalogue, weights_path
from stack.settings import REPOSITORY, get_settings
from tests.integration.models_node.running import model_server

MODEL = "phi4_fast"
SECONDS = 180.0  # a cold load on a busy machine included
QUESTION: Any = [{"role": "user", "content": "What is the capital of France? Answer in one short sentence."}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "strict": True,
        "description": "Get the current weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}
CITIES = ("Madrid", "Paris", "Lima", "Bogotá", "Rome", "Oslo", "Quito", "Berlin")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One server, and memory for one engine at a time."""
    budget = str(int(3.4 * 2**30))
    with model_server(tmp_path_factory.mktemp("sdk"), models_memory_budget_bytes=budget) as running:
        yield running


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[OpenAI]:
    """A client, the chat model being loaded."""
    with OpenAI(base_url=f"{url}/v1", api_key="none", timeout=SECONDS, max_retries=0) as made:
        made.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=1)
        yield made


def until(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.02)


def in_flight(url: str) -> int:
    engines = httpx.get(f"{url}/stats", timeout=10, trust_env=False).json()["engines"]
    return sum(engine["in_flight"] for engine in engines)


def test_models_are_listed_and_told_one_by_one(client: OpenAI) -> None:
    ids = {model.id for model in client.models.list()}
    assert {MODEL, "mistral_balanced", "qwen_coder", "gemma3_multimodal", "aya_expanse_multilingual"} <= ids
    assert client.models.retrieve(MODEL).owned_by == "capibara6"
    with pytest.raises(openai.NotFoundError) as error:
        client.models.retrieve("gpt-9")
    assert error.value.code == "model_not_found"


def test_a_chat_is_answered_with_its_usage(client: OpenAI) -> None:
    raw = client.chat.completions.with_raw_response.create(model=MODEL, messages=QUESTION, max_tokens=32, temperature=0)
    answer = raw.parse()
    assert answer.model == raw.headers["x-capibara6-model"] == MODEL
    assert "Paris" in (answer.choices[0].message.content or "")
    assert answer.usage and answer.usage.prompt_tokens > 10
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_a_stream_is_the_same_text_and_ends_with_its_usage(client: OpenAI) -> None:
    whole = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=24, temperature=0)
    chunks = list(
        client.chat.completions.create(
            model=MODEL, messages=QUESTION, max_tokens=24, temperature=0, stream=True,
            stream_options={"include_usage": True},
        )
    )  # fmt: skip
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert len(chunks) > 5
    assert chunks[-1].usage and whole.usage and chunks[-1].usage.completion_tokens == whole.usage.completion_tokens


def test_a_required_tool_is_called_with_arguments_of_its_schema(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "What is the weather in Madrid?"}], tools=[WEATHER],
        tool_choice="required", max_tokens=64, temperature=0,
    )  # fmt: skip
    [call, *_] = answer.choices[0].message.tool_calls or []
    assert call.type == "function" and call.function.name == "get_weather"
    assert isinstance(json.loads(call.function.arguments)["city"], str)


def test_a_streamed_tool_call_comes_in_pieces_that_make_it(client: OpenAI) -> None:
    named: Any = {"type": "function", "function": {"name": "get_weather"}}
    name = arguments = ""
    for chunk in client.chat.completions.create(
        model=MODEL, messages=[{"role": "user", "content": "The weather in Lima, please."}], tools=[WEATHER],
        tool_choice=named, max_tokens=64, temperature=0, stream=True,
    ):  # fmt: skip
        for call in (chunk.choices[0].delta.tool_calls or []) if chunk.choices else []:
            name += (call.function.name or "") if call.function else ""
            arguments += (call.function.arguments or "") if call.function else ""
    assert name == "get_weather" and "city" in json.loads(arguments)


def test_how_often_the_tiny_model_calls_a_tool_by_itself_is_measured(
    client: OpenAI, capsys: pytest.CaptureFixture[str]
) -> None:
    """No rate is asked for: 135 million parameters decide. What is called has to be well formed."""

    def called(city: str) -> bool:
        answer = client.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": f"What is the weather in {city} now?"}],
            tools=[WEATHER], tool_choice="auto", max_tokens=48, temperature=0,
        )  # fmt: skip
        calls = answer.choices[0].message.tool_calls or []
        assert all(call.type == "function" and json.loads(call.function.arguments) is not None for call in calls)
        return bool(calls)

    with ThreadPoolExecutor(len(CITIES)) as pool:
        calls = sum(pool.map(called, CITIES))
    with capsys.disabled():
        print(f"\ntool calls with tool_choice auto: {calls} of {len(CITIES)}")


def test_an_answer_follows_a_json_schema(client: OpenAI) -> None:
    schema = {
        "type": "object",
        "properties": {"capital": {"type": "string", "maxLength": 20}, "population": {"type": "integer"}},
        "required": ["capital", "population"],
        "additionalProperties": False,
    }
    answer = client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=64, temperature=0,
        response_format={"type": "json_schema", "json_schema": {"name": "city", "schema": schema, "strict": True}},
    )  # fmt: skip
    told = json.loads(answer.choices[0].message.content or "")
    assert set(told) == {"capital", "population"} and isinstance(told["population"], int)


def test_log_probabilities_come_with_each_token(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        model=MODEL, messages=QUESTION, max_tokens=5, temperature=0, logprobs=True, top_logprobs=3
    )
    told = answer.choices[0].logprobs
    assert told and told.content and answer.usage and len(told.content) == answer.usage.completion_tokens
    for token in told.content:
        assert token.logprob <= 0 and math.isfinite(token.logprob) and len(token.top_logprobs) == 3
        assert token.token == token.top_logprobs[0].token  # greedy takes the likeliest


def test_an_answer_ends_before_a_stop_sequence(client: OpenAI) -> None:
    whole = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=24, temperature=0)
    text = whole.choices[0].message.content or ""
    stop = text.split()[2]
    cut = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=24, temperature=0, stop=[stop])
    assert cut.choices[0].finish_reason == "stop"
    assert cut.choices[0].message.content == text[: text.index(stop)]


def test_several_answers_to_one_question(client: OpenAI) -> None:
    answer = client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=12, temperature=1.5, n=3, seed=7)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]
    assert len({choice.message.content for choice in answer.choices}) > 1


def test_completions_go_on_from_a_text(client: OpenAI) -> None:
    answer = client.completions.create(model=MODEL, prompt="One, two, three, four,", max_tokens=6, temperature=0)
    assert "five" in answer.choices[0].text
    chunks = list(client.completions.create(model=MODEL, prompt="One, two,", max_tokens=6, temperature=0, stream=True))
    assert "three" in "".join(chunk.choices[0].text for chunk in chunks if chunk.choices)


def test_responses_are_answered_whole_and_as_events(client: OpenAI) -> None:
    answer = client.responses.create(model=MODEL, input=QUESTION[0]["content"], max_output_tokens=32, temperature=0)
    assert answer.status == "completed" and "Paris" in answer.output_text
    events = list(
        client.responses.create(
            model=MODEL, input=QUESTION[0]["content"], max_output_tokens=32, temperature=0, stream=True
        )
    )
    assert (events[0].type, events[-1].type) == ("response.created", "response.completed")
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert text == answer.output_text


def test_errors_are_the_sdks_own_kinds(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model="gpt-9", messages=QUESTION)
    assert (missing.value.code, missing.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.UnprocessableEntityError) as wrong:
        client.chat.completions.create(model=MODEL, messages="hello")  # type: ignore[call-overload]
    assert wrong.value.param == "messages"
    with pytest.raises(openai.BadRequestError) as refused:  # vLLM's own words
        client.chat.completions.create(model=MODEL, messages=QUESTION, max_tokens=10_000)
    assert "4096" in refused.value.message
    with pytest.raises(openai.BadRequestError) as long:  # proved without asking the engine
        client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "hola " * 300_000}])
    assert long.value.code == "context_length_exceeded"
    with pytest.raises(openai.BadRequestError) as kind:
        client.chat.completions.create(model="minilm_embeddings", messages=QUESTION)
    assert kind.value.code == "wrong_kind_of_model"


def test_a_stream_that_is_closed_stops_the_generation(client: OpenAI, url: str) -> None:
    story: Any = [{"role": "user", "content": "Tell me a very long story."}]
    stream = client.chat.completions.create(
        model=MODEL, messages=story, max_tokens=2000, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    assert in_flight(url) == 1
    stream.close()
    until(lambda: in_flight(url) == 0)


def test_an_answer_that_is_no_longer_awaited_is_stopped_too(client: OpenAI, url: str) -> None:
    story: Any = [{"role": "user", "content": "Tell me a very long story."}]
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=1).chat.completions.create(
            model=MODEL, messages=story, max_tokens=3000, extra_body={"ignore_eos": True}
        )
    until(lambda: in_flight(url) == 0)


def test_embeddings_are_those_of_sentence_transformers(client: OpenAI) -> None:
    """Last in this file: the model that writes has to make room."""
    texts = ["What is the capital of France?", "Paris is the capital of France.", "My cat sleeps all day."]
    answer = client.embeddings.create(model="auto", input=texts, encoding_format="float")
    assert answer.model == "minilm_embeddings" and answer.usage.prompt_tokens > 0
    ours = numpy.array([item.embedding for item in answer.data])
    assert ours.shape == (3, 384)
    from sentence_transformers import SentenceTransformer

    entry = read_catalogue(REPOSITORY / "models_node" / "catalog.local.toml").get("minilm_embeddings")
    assert entry is not None
    theirs = SentenceTransformer(str(weights_path(entry, get_settings().home)), device="cpu").encode(texts)
    cosines = (ours * theirs).sum(1) / numpy.linalg.norm(ours, axis=1) / numpy.linalg.norm(theirs, axis=1)
    assert cosines.min() > 0.999
    assert ours[0] @ ours[1] > ours[0] @ ours[2]
    packed = client.embeddings.create(model="minilm_embeddings", input=texts[0])  # base64, which the SDK asks for
    assert numpy.allclose(packed.data[0].embedding, ours[0], atol=1e-4)


def test_a_text_longer_than_an_embedding_models_context_is_refused(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as error:
        client.embeddings.create(model="minilm_embeddings", input="hola " * 400)
    assert "256" in error.value.message
