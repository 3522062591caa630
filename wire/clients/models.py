"""Client of the model server (models-europe:8082)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

import httpx

from wire.clients.base import ServiceClient, error_from_body
from wire.context import outgoing_headers
from wire.errors import ApiError, UpstreamFailed, error_of
from wire.sse import iter_data

WAITED = "capibara6 waited "
# Of errors that may come after a stream's status has gone out; any other is the model's own failure (502).
STATUS_BY_CODE = {
    "queue_full": 429,
    "queue_timeout": 503,
    "out_of_memory": 503,
    "engine_unavailable": 503,
    "server_stopping": 503,
    "load_timeout": 504,
}


@dataclass(slots=True)
class ChatStream:
    """A chat completion under way.

    model: who answers. route: why it was chosen. queue_ms, load_ms: what the request waited for, as the server says;
    of a long wait it says so only when the answer begins, with the first chunk.
    chunks: OpenAI `chat.completion.chunk` objects; raises ApiError for an error event, UpstreamFailed when the
    stream ends without `[DONE]`.
    """

    model: str
    route: str
    queue_ms: float | None
    load_ms: float | None
    chunks: AsyncIterator[dict[str, Any]]

    def hear(self, comment: str) -> None:
        """A comment of the stream: `capibara6 waited queue_ms=… load_ms=…` is what the headers left too early for."""
        if comment.startswith(WAITED):
            told = dict(pair.split("=", 1) for pair in comment.removeprefix(WAITED).split() if "=" in pair)
            self.queue_ms, self.load_ms = _milliseconds(told.get("queue_ms")), _milliseconds(told.get("load_ms"))


@dataclass(frozen=True, slots=True)
class Route:
    """Which model a chat would meet. tool_calls: how it is asked for tool calls, None where it makes none.
    context_tokens: of prompt and answer together."""

    model: str
    reason: str
    tool_calls: Literal["native", "guided"] | None
    context_tokens: int


class ModelServerClient(ServiceClient):
    def __init__(self, base_url: str, *, key: str | None = None, read_seconds: float = 600) -> None:
        super().__init__(base_url, name="model-server", key=key, read_seconds=read_seconds)

    @asynccontextmanager
    async def stream_chat(
        self, request: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> AsyncIterator[ChatStream]:
        """Opens `POST /v1/chat/completions` as a stream. Leaving the context closes it, which stops the generation.

        request: an OpenAI chat request (`stream` and usage are added). headers: run and trace; default: the current
        request's. Raises ApiError.
        """
        body = json.dumps({**request, "stream": True, "stream_options": {"include_usage": True}}).encode()
        sent = {"content-type": "application/json", **(headers or outgoing_headers())}
        try:
            async with self._http.stream("POST", "/v1/chat/completions", content=body, headers=sent) as reply:
                if reply.status_code >= 400:
                    raise error_from_body(self.name, reply.status_code, await reply.aread(), reply.headers)

                def hear(comment: str) -> None:
                    stream.hear(comment)

                stream = ChatStream(
                    reply.headers.get("x-capibara6-model", ""),
                    reply.headers.get("x-capibara6-route", ""),
                    _milliseconds(reply.headers.get("x-capibara6-queue-ms")),
                    _milliseconds(reply.headers.get("x-capibara6-load-ms")),
                    self._chunks(reply, hear),
                )
                yield stream
        except httpx.HTTPError as error:
            raise self.unreachable(error) from error

    async def _chunks(self, reply: httpx.Response, hear: Callable[[str], None]) -> AsyncIterator[dict[str, Any]]:
        async for data in iter_data(reply.aiter_raw(), hear):
            if data == "[DONE]":
                return
            chunk = json.loads(data)
            if "error" in chunk:
                raise _streamed_error(chunk["error"])
            yield chunk
        raise UpstreamFailed("The model's answer broke off.", code="stream_broken", retry_after_seconds=1)

    async def route(self, request: Mapping[str, Any], headers: Mapping[str, str] | None = None) -> Route:
        """The choice that this chat request would meet. Raises ApiError, as the request itself would."""
        told = await self._post("/v1/route", request, headers)
        able = told.get("capabilities") or {}
        calls = able.get("tool_calls", "native") if able.get("tools") else None
        return Route(str(told["model"]), str(told["reason"]), calls, int(told.get("max_model_len") or 0))

    async def count_tokens(self, model: str, texts: list[str], headers: Mapping[str, str] | None = None) -> list[int]:
        """Tokens of each text for this model, without a chat template's. Raises ApiError."""
        told = await self._post("/tokenize", {"model": model, "prompt": texts}, headers)
        return [int(count) for count in told["counts"]]

    async def _post(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None) -> dict[str, Any]:
        try:
            reply = await self._http.post(path, json=body, headers=headers or outgoing_headers())
        except httpx.HTTPError as error:
            raise self.unreachable(error) from error
        if reply.status_code >= 400:
            raise error_from_body(self.name, reply.status_code, reply.content, reply.headers)
        told: dict[str, Any] = reply.json()
        return told

    async def load(self, model: str, *, seconds: float) -> float:
        """Loads a model, for operators and services. Returns the seconds it took. Raises ApiError."""
        try:
            reply = await self._http.post(
                f"/models/{quote(model, safe='')}/load", headers=outgoing_headers(), timeout=seconds
            )
        except httpx.HTTPError as error:
            raise self.unreachable(error) from error
        if reply.status_code >= 400:
            raise error_from_body(self.name, reply.status_code, reply.content, reply.headers)
        return float(self.json_of(reply).get("load_seconds") or 0.0)

    async def models(self) -> list[dict[str, Any]]:
        """The entries of `/v1/models`."""
        entries: list[dict[str, Any]] = (await self.get_json("/v1/models"))["data"]
        return entries

    async def ready(self) -> bool:
        """Whether a model can answer or be loaded now; False also when the server can't be reached."""
        try:
            reply = await self._http.get("/health/ready", timeout=3)
        except httpx.HTTPError:
            return False
        return reply.status_code == 200


def _streamed_error(told: Any) -> ApiError:
    """An error that came as an event: its status was spoken for by then, and is known by its code."""
    error = told if isinstance(told, dict) else {"message": str(told)}
    code = str(error.get("code") or "model_failed")
    return error_of(
        STATUS_BY_CODE.get(code, 502),
        str(error.get("message") or "The model failed."),
        code=code,
        retry_after_seconds=1,
    )


def _milliseconds(text: str | None) -> float | None:
    try:
        return float(text) if text else None
    except ValueError:
        return None
