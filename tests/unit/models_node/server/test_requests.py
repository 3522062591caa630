"""Bodies are checked as far as this server must understand them, and each fault names its field."""

from __future__ import annotations

import json

import pytest

from models_node.catalogue import ModelEntry
from models_node.server.requests import (
    LONGEST_TOKEN_CHARS,
    check_length,
    check_messages,
    fewest_tokens,
    parse_body,
    routing_query,
)
from wire.errors import ApiError


@pytest.mark.parametrize(
    ("raw", "status", "code", "param"),
    [
        (b"", 400, "malformed_json", None),
        (b"{", 400, "malformed_json", None),
        (b"\xff\xfe", 400, "malformed_json", None),
        (b'{"temperature": NaN}', 400, "malformed_json", None),
        (b"[" * 100_000, 400, "malformed_json", None),
        (b"[]", 400, "invalid_body", None),
        (b"null", 400, "invalid_body", None),
        (b'{"model": 3}', 422, "invalid_field", "model"),
        (b'{"model": ["a"]}', 422, "invalid_field", "model"),
        (b'{"stream": "yes"}', 422, "invalid_field", "stream"),
        (b'{"stream": 1}', 422, "invalid_field", "stream"),
        (b"{}", 400, "missing_field", "messages"),
        (b'{"messages": "hi"}', 422, "invalid_field", "messages"),
        (b'{"messages": []}', 400, "empty_messages", "messages"),
        (b'{"messages": ["hi"]}', 422, "invalid_field", "messages.0"),
        (b'{"messages": [{"content": "hi"}]}', 422, "invalid_field", "messages.0.role"),
        (b'{"messages": [{"role": "user", "content": 3}]}', 422, "invalid_field", "messages.0.content"),
    ],
)
def test_what_is_wrong_is_named(raw: bytes, status: int, code: str, param: str | None) -> None:
    with pytest.raises(ApiError) as caught:
        check_messages(parse_body(raw))
    assert (caught.value.status, caught.value.code, caught.value.param) == (status, code, param)


def test_a_body_that_names_its_model_passes_untouched() -> None:
    raw = b'{ "model" : "a",\n"messages":[{"role":"user","content":"\xc3\xb1"}] }'
    body = parse_body(raw)
    check_messages(body)
    assert body.addressed_to("a") is raw


def test_otherwise_only_the_model_is_replaced() -> None:
    body = parse_body(b'{"messages": [{"role": "user", "content": "x"}], "x": {"y": [1, 2.5, null]}, "model": ""}')
    assert json.loads(body.addressed_to("b")) == {**body.content, "model": "b"}


def test_a_router_sees_what_the_user_said_and_how_many_images() -> None:
    body = parse_body(
        json.dumps(
            {
                "model": "auto",
                "messages": [
                    {"role": "system", "content": "be brief"},
                    {"role": "user", "content": "first"},
                    {"role": "assistant", "content": "yes"},
                    {
                        "role": "user",
                        "content": [{"type": "text", "text": "this?"}, {"type": "image_url", "image_url": {}}],
                    },
                ],
            }
        ).encode()
    )
    query = routing_query(body)
    assert (query.model, query.texts, query.images) == ("auto", ("first", "this?"), 1)


@pytest.mark.parametrize(
    "raw",
    [
        b'{"input": "hi"}',
        b'{"input": ["hi"]}',
        b'{"prompt": "hi"}',
        b'{"input": [{"role": "user", "content": [{"type": "input_text", "text": "hi"}]}]}',
    ],
)
def test_it_sees_the_text_of_the_other_apis_too(raw: bytes) -> None:
    assert routing_query(parse_body(raw)).texts == ("hi",)


TEXT = "x" * (LONGEST_TOKEN_CHARS * 3)


@pytest.mark.parametrize(
    ("content", "tokens"),
    [
        ({"prompt": TEXT}, 3),
        ({"prompt": TEXT + "y"}, 4),
        ({"prompt": [TEXT, "y"]}, 3),
        ({"prompt": [5, 6, 7, 8]}, 4),
        ({"prompt": [[5, 6, 7, 8], [1] * 9]}, 9),
        ({"input": [TEXT, TEXT]}, 3),
        ({"input": [{"role": "user", "content": [{"type": "input_text", "text": TEXT}]}]}, 3),
        ({"messages": [{"role": "system", "content": TEXT}, {"role": "user", "content": TEXT}]}, 6),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": TEXT}}]}]}, 0),
        ({"messages": "no list"}, 0),
    ],
)
def test_the_fewest_tokens_a_prompt_can_have(content: dict[str, object], tokens: int) -> None:
    assert fewest_tokens(content) == tokens


def test_what_cannot_fit_is_refused_unless_it_is_to_be_cut() -> None:
    entry = ModelEntry(id="a", domain="general", description="", context_length=2, weights="w", memory_estimate=1)
    with pytest.raises(ApiError, match="context of 2 tokens") as caught:
        check_length(parse_body(json.dumps({"prompt": TEXT}).encode()), entry)
    assert (caught.value.status, caught.value.code) == (400, "context_length_exceeded")
    check_length(parse_body(json.dumps({"prompt": TEXT, "truncate_prompt_tokens": 2}).encode()), entry)
    check_length(parse_body(json.dumps({"prompt": TEXT[:500]}).encode()), entry)


def test_what_is_said_beside_the_model_goes_before_what_the_client_said() -> None:
    body = parse_body(b'{"model": "a", "priority": -5}')
    assert json.loads(body.addressed_to("a", priority=10)) == {"model": "a", "priority": 10}
    assert body.addressed_to("a", priority=-5) is body.raw
