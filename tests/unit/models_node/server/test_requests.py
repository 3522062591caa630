"""Bodies are checked as far as this server must understand them, and each fault names its field."""

from __future__ import annotations

import json

import pytest

from models_node.server.requests import check_messages, parse_body, routing_query
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
