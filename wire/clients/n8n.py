"""Client of n8n's webhooks (services:5678): a workflow that one of them begins, and its JSON answer."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import httpx

from wire.clients.base import ServiceClient
from wire.errors import ApiError, DeadlineExceeded, NotFound, Unavailable, UpstreamFailed

JSON = "application/json"
TOLD_CHARS = 500
# How an n8n answers that takes no requests yet, the first with status 200.
STARTING = (b"n8n is starting up", b'{"code":503,"message":"Database is not ready!')


class WorkflowClient(ServiceClient):
    """key: n8n's own, where its webhooks ask for one."""

    def __init__(self, base_url: str, *, answer_bytes: int, key: str | None = None) -> None:
        super().__init__(base_url, name="n8n", key=key)
        self._answer_bytes = answer_bytes

    async def call(self, path: str, body: Any, headers: Mapping[str, str], timeout_seconds: float) -> Any:
        """The answer of the workflow whose webhook has this path. Nothing is tried twice here.

        Raises ApiError: `n8n_unreachable` (nothing was sent), `n8n_not_ready` (it is starting), `n8n_timeout`,
        `n8n_disconnected`, `workflow_not_found` (no active workflow has such a webhook), `workflow_failed` (it answered
        an error), `workflow_answer_not_json`, `workflow_answer_too_large`.
        """
        content = json.dumps(body, ensure_ascii=False).encode()
        timeout = httpx.Timeout(timeout_seconds, connect=self._http.timeout.connect, pool=self._http.timeout.pool)
        asked = self._http.build_request(
            "POST",
            f"/webhook/{path}",
            content=content,
            headers={**headers, "content-type": JSON, "accept": JSON},
            timeout=timeout,
        )
        try:
            reply = await self._http.send(asked, stream=True)
            try:
                data = await self._read(reply)
            finally:
                await reply.aclose()
        except httpx.WriteTimeout:
            raise DeadlineExceeded("n8n did not take the request in time.", code="n8n_timeout") from None
        except httpx.HTTPError as error:
            raise self.unreachable(error) from error
        if data.startswith(STARTING):
            raise Unavailable("n8n is starting.", code="n8n_not_ready", retry_after_seconds=5)
        if not 200 <= reply.status_code < 300:
            raise _refused(path, reply, data)
        try:
            return json.loads(data)
        except ValueError:
            raise UpstreamFailed(
                f"The workflow at {path!r} answered with what is no JSON ({_kind(reply)}): let its last node, or its "
                "Respond to Webhook node, answer with JSON.",
                code="workflow_answer_not_json",
            ) from None

    async def _read(self, reply: httpx.Response) -> bytes:
        data = bytearray()
        async for piece in reply.aiter_bytes():
            data += piece
            if len(data) > self._answer_bytes:
                raise UpstreamFailed(
                    f"The answer is larger than {self._answer_bytes} bytes (CAPIBARA6_WORKFLOW_ANSWER_BYTES).",
                    code="workflow_answer_too_large",
                )
        return bytes(data)


def _refused(path: str, reply: httpx.Response, data: bytes) -> ApiError:
    status, said = reply.status_code, _said(reply, data)
    if status == 404:
        return NotFound(
            f"n8n has no active workflow with a webhook {path!r} that takes a POST: {said}", code="workflow_not_found"
        )
    return UpstreamFailed(f"The workflow at {path!r} failed; n8n answered {said}", code="workflow_failed")


def _said(reply: httpx.Response, data: bytes) -> str:
    """An error's answer in one line: n8n's own message, or what kind of thing came."""
    try:
        told = json.loads(data)
    except ValueError:
        return f"{reply.status_code} ({_kind(reply)})"
    message = told.get("message") if isinstance(told, dict) else None
    text = str(message or json.dumps(told, ensure_ascii=False))
    return f"{reply.status_code}: {text[:TOLD_CHARS]}"


def _kind(reply: httpx.Response) -> str:
    kind = reply.headers.get("content-type", "").partition(";")[0].strip().lower()
    words: dict[str, str] = {"text/html": "a page of HTML", "": "nothing that says what it is"}
    return words.get(kind, str(kind)[:100])
