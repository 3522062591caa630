"""The routes: what is sent becomes a turn, and the turn is told in OpenAI's forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from flows.tools.calls import Call
from flows.turn import CLIENT_CALLS
from services_node.chat_api.openai_door.completions import Completion
from services_node.chat_api.openai_door.events import ResponseEvents
from services_node.chat_api.openai_door.names import run_of
from services_node.chat_api.openai_door.places import (
    CONVERSATION_HEADER,
    begin_completion,
    begin_response,
    client_calls,
    response_run,
)
from services_node.chat_api.openai_door.reading import ASSISTANT
from services_node.chat_api.openai_door.responses import Told, stored, whole
from services_node.chat_api.openai_door.schemas import CompletionRequest, ResponseRequest
from services_node.chat_api.parts import Parts, owner, parts_of
from services_node.chat_api.removing import remove_conversation
from services_node.chat_api.telling import ActiveTurn, RunStream, TurnEnded, opened, told_at_once
from wire.errors import Conflict, NotFound

router = APIRouter(prefix="/v1", tags=["openai"])

_RESPONSE = "response_id"


# Models


@router.get("/models")
async def models(request: Request) -> dict[str, Any]:
    """The assistant, whose model the router chooses, and each chat model with the assistant around it."""
    return {"object": "list", "data": await _listed(parts_of(request))}


@router.get("/models/{model:path}")
async def model(model: str, request: Request) -> dict[str, Any]:
    for one in await _listed(parts_of(request)):
        if one["id"] == model:
            return one
    raise NotFound(f"The model {model[:200]!r} does not exist here.", code="model_not_found", param="model")


async def _listed(parts: Parts) -> list[dict[str, Any]]:
    entries = [one for one in await parts.models.models() if not (one.get("capabilities") or {}).get("embeddings")]
    created = max((int(one.get("created") or 0) for one in entries), default=0)
    about = "The assistant: the router chooses the model, tools run on the server."
    known = {"object": "model", "created": created, "owned_by": ASSISTANT}
    return [{"id": ASSISTANT, "description": about, **known}, *(known | one for one in entries)]


# Chat completions


@router.post("/chat/completions", response_model=None)
async def chat_completions(asked: CompletionRequest, request: Request) -> Response:
    """Asks the assistant, OpenAI's way: the client sends all that was said. The server's tools run here; calls of
    functions in `tools` go back to the client."""
    parts, streaming = parts_of(request), bool(asked.stream)
    active = await begin_completion(parts, asked, request.headers.get(CONVERSATION_HEADER), streaming=streaming)
    with_usage = asked.stream_options is not None and bool(asked.stream_options.include_usage)
    told = Completion(active.run.id, active.run.conversation_id, asked.model, with_usage)
    if streaming:
        return await _streamed(active, request, told.written)
    return await _at_once(active, request, told.whole)


# Responses


@router.post("/responses", response_model=None)
async def responses(asked: ResponseRequest, request: Request) -> Response:
    """The same as a response: with `previous_response_id` or `conversation`, what was said before is kept here."""
    parts, streaming = parts_of(request), bool(asked.stream)
    active = await begin_response(parts, asked, streaming=streaming)
    told = Told(active.run.id, active.run.conversation_id, asked)
    if streaming:
        return await _streamed(active, request, ResponseEvents(told).written)
    return await _at_once(active, request, lambda ended: whole(told, ended))


@router.get("/responses/{response_id}")
async def response(response_id: str, request: Request) -> dict[str, Any]:
    """A stored response: what was answered, from the conversation's rows."""
    return await _stored(parts_of(request), response_id)


@router.post("/responses/{response_id}/cancel")
async def cancel(response_id: str, request: Request) -> dict[str, Any]:
    """Stops a response that is under way, and returns it as it ended. 409 for one that had ended already."""
    parts, run_id = parts_of(request), run_of(response_id, _RESPONSE)
    try:
        active = parts.conductor.cancel(run_id, owner())
    except NotFound:
        run = await response_run(parts, response_id, _RESPONSE)
        raise Conflict(f"The response is {run.status} already.", code="run_not_active", param=_RESPONSE) from None
    ended = await active.ended()
    if active.run.conversation_id is None:  # not stored: there is nothing to read it from
        return whole(Told(run_id, None), ended)
    return await _stored(parts, response_id)


@router.delete("/responses/{response_id}")
async def remove(response_id: str, request: Request) -> dict[str, Any]:
    """Removes what was said in a response, question and answer; one under way is cancelled. Its run stays."""
    parts = parts_of(request)
    run = await response_run(parts, response_id, _RESPONSE)
    assert run.conversation_id is not None  # noqa: S101 - it is a stored one
    for active in parts.conductor.of_conversation(run.conversation_id):
        if active.run.id == run.id:
            active.cancel("cancelled_by_client")
            await active.ended()
    if await parts.turns.forget(run.id, owner(), CLIENT_CALLS):
        await remove_conversation(parts, run.conversation_id)
    return {"id": response_id, "object": "response", "deleted": True}


async def _stored(parts: Parts, name: str) -> dict[str, Any]:
    run = await response_run(parts, name, _RESPONSE)
    asking = [
        message.extra["tool_calls"] for message in await client_calls(parts, run.id) if message.extra.get("tool_calls")
    ]
    calls = [
        Call.written(one["id"], one["function"]["name"], one["function"]["arguments"]) for one in (asking or [[]])[-1]
    ]
    return stored(run, await parts.turns.said(run.id, owner()), calls)


# Telling


async def _at_once(active: ActiveTurn, request: Request, tell: Callable[[TurnEnded], dict[str, Any]]) -> Response:
    said = await told_at_once(active, request.receive, lambda _, ended: tell(ended))
    conversation_id = active.run.conversation_id
    return JSONResponse(said, headers={CONVERSATION_HEADER: str(conversation_id)} if conversation_id else {})


async def _streamed(active: ActiveTurn, request: Request, written: Callable[[Any], bytes]) -> Response:
    """A stream; a turn that failed before its first word is an error with a status still."""
    settings = parts_of(request).settings
    await opened(active, request.receive, settings.chat_header_wait_seconds)
    return _DoorStream(active, settings.chat_keep_alive_seconds, written)


class _DoorStream(RunStream):
    def __init__(self, active: ActiveTurn, keep_alive_seconds: float, written: Callable[[Any], bytes]) -> None:
        super().__init__(active, keep_alive_seconds)
        self._write = written

    def _written(self, happened: Any) -> bytes:
        return self._write(happened)
