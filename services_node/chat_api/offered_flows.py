"""`/api/flows`: what can be begun by its name, goes on by itself, and is told by its run.

A run is written, with the promise to do it once, before it begins: the reply's run id is there from then on, whatever
becomes of the client's connection. It ends with the server, as every run does; a batch does not.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator, BaseModel, ConfigDict, ValidationError
from starlette.responses import JSONResponse

from db.queued import NewQueued, Promise
from db.runs import BATCH, CHAT_BATCH, DIGEST, RETENTION, ROUTING_EVALUATION, WARM_UP
from db.tables import OPEN_STATUSES
from flows import workflows
from flows.errors import flow_not_begun
from flows.speech import KIND
from services_node.chat_api.batches import BatchRequest, prepare_batch
from services_node.chat_api.beginning import asked_place, begin_at
from services_node.chat_api.code import asked_code, begin_code
from services_node.chat_api.code_schemas import CodeRunRequest
from services_node.chat_api.hooks.addresses import checked_url
from services_node.chat_api.item_batches import ItemBatchRequest, prepare_item_batch
from services_node.chat_api.maintenance import REQUESTS, prepare_maintenance
from services_node.chat_api.parts import Parts, parts_of
from services_node.chat_api.prepared import Prepared
from services_node.chat_api.provenance import provenance
from services_node.chat_api.schemas import ChatRequest, Text, storable
from services_node.chat_api.speeches import SpeechFlowRequest, prepare_speech
from services_node.chat_api.workflows import WorkflowFlowRequest, prepare_workflow
from wire.context import RUN_ID_HEADER, current
from wire.errors import ApiError, NotFound, ValidationFailed

router = APIRouter(prefix="/api/flows", tags=["flows"])


@dataclass(frozen=True, slots=True)
class OfferedFlow:
    """prepare: checks what is asked, and makes ready what begins the run in hand once it is written."""

    name: str
    description: str
    parameters: type[BaseModel]
    prepare: Callable[[Parts, Any], Awaitable[Prepared]]

    def schema(self) -> dict[str, Any]:
        """Its parameters as JSON Schema. Nobody listens, so nothing is streamed."""
        schema = self.parameters.model_json_schema()
        schema["properties"].pop("stream", None)
        return schema


async def prepare_chat(parts: Parts, asked: ChatRequest) -> Prepared:
    place = await asked_place(parts, asked)

    async def begin() -> None:
        begin_at(parts, asked, place, streaming=False, queued=True)

    return Prepared(begin)


async def prepare_code(parts: Parts, asked: CodeRunRequest) -> Prepared:
    request = await asked_code(parts, asked)

    async def begin() -> None:
        begin_code(parts, request, streaming=False, queued=True)

    return Prepared(begin)


MAINTENANCE = {
    DIGEST: "What was said and done in a day: conversations, runs, failures and their reasons, models.",
    RETENTION: "Counts (or removes) what is past its time: runs, conversations, files, Prefect's flow runs.",
    ROUTING_EVALUATION: "Routes recent questions anew and compares the choice with the model that answered.",
    WARM_UP: "Loads models before anybody asks them.",
}

OFFERED: Mapping[str, OfferedFlow] = {
    flow.name: flow
    for flow in (
        OfferedFlow(
            "chat",
            "One turn of the assistant, as POST /api/chat. Its answer stands in the conversation and in the run.",
            ChatRequest,
            prepare_chat,
        ),
        OfferedFlow(
            "code",
            "A piece of code in a sandbox, as POST /api/code/run. What it made is kept as the run's files.",
            CodeRunRequest,
            prepare_code,
        ),
        OfferedFlow(
            BATCH,
            "Pieces of code, one after the other, each in a sandbox of its own; outlives the chat API's restarts.",
            BatchRequest,
            prepare_batch,
        ),
        OfferedFlow(
            KIND,
            "A text, a message, a run's answer or a document, spoken into a file of the run. Documents and long texts "
            "outlive the chat API's restarts.",
            SpeechFlowRequest,
            prepare_speech,
        ),
        OfferedFlow(
            workflows.KIND,
            "A workflow of this stack's n8n, begun by the webhook at `path`. Its answer is the run's "
            "`response`, and its file answer.json.",
            WorkflowFlowRequest,
            prepare_workflow,
        ),
        OfferedFlow(
            CHAT_BATCH,
            "Questions of a JSON Lines or CSV file, each asked by itself; the answers are a file of the run.",
            ItemBatchRequest,
            prepare_item_batch,
        ),
        *(OfferedFlow(name, words, REQUESTS[name], prepare_maintenance(name)) for name, words in MAINTENANCE.items()),
    )
}


class StartFlow(BaseModel):
    """parameters: as the flow's `parameters_schema` says. `code-batch` takes them without this around them too.
    callback_url: is told when the run has ended, as a hook would be (`/api/hooks`).
    """

    model_config = ConfigDict(extra="allow")

    parameters: dict[str, Any] | None = None
    callback_url: Annotated[Text, AfterValidator(storable)] | None = None


@router.get("")
async def flows() -> dict[str, Any]:
    """What can be begun, with the JSON Schema of what each is told."""
    return {
        "flows": [
            {"name": flow.name, "description": flow.description, "parameters_schema": flow.schema()}
            for flow in OFFERED.values()
        ]
    }


@router.post("/{name}/runs", status_code=202)
async def start(
    name: str,
    asked: StartFlow,
    request: Request,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> JSONResponse:
    """Begins a run and returns at once. The same Idempotency-Key with the same request means the same run."""
    parts, context = parts_of(request), current()
    flow = OFFERED.get(name)
    if flow is None:
        known = ", ".join(OFFERED)
        raise NotFound(f"There is no flow of this name; there are {known}.", code="flow_not_found", param="name")
    given, prefix = _given(flow, asked)
    callback_url = asked.callback_url
    if callback_url is not None:
        callback_url = await checked_url(callback_url, "callback_url", parts.topology)
        parts.delivering.expect()
    promise = None
    if idempotency_key is not None:
        digest = _digest(name, given)
        promise = Promise(_storable(idempotency_key), digest, parts.settings.idempotency_seconds)
        earlier = await parts.queued.promised(context.principal.name, promise, callback_url)
        if earlier is not None:
            return await _told(parts, flow, earlier)
    with named(prefix):
        prepared = await flow.prepare(parts, _checked(flow.parameters, given, prefix))
    run = NewQueued(
        context.run_id,
        context.principal.name,
        prepared.kind or name,
        context.trace.trace_id,
        parts.stack_id,
        parts.instance_id,
        context.parent_run_id,
        callback_url=callback_url,
        **provenance("api"),
    )
    run_id = await parts.queued.queue(run, promise)
    if run_id == run.id:
        try:
            await prepared.begin()
        except BaseException as error:  # too many, a full disk, a client that went: the key must not promise it
            reason = error if isinstance(error, ApiError) else flow_not_begun(name)
            await asyncio.shield(parts.queued.give_up(run_id, reason.code, reason.detail))
            raise
    return await _told(parts, flow, run_id)


async def _told(parts: Parts, flow: OfferedFlow, run_id: uuid.UUID) -> JSONResponse:
    """`url` is how batches told their `location` first; all three are the same."""
    run = await parts.runs.get(run_id, current().principal.name)
    if run.status not in OPEN_STATUSES:  # an earlier one, of which a new callback is to be told now
        parts.delivering.run_ended()
    where = f"/api/runs/{run_id}"
    told = {"run_id": str(run_id), "status": run.status, "flow": flow.name, "status_url": where}
    told |= {"location": where, "url": where}
    return JSONResponse(told, 202, headers={"location": where, RUN_ID_HEADER: str(run_id)})


def _digest(name: str, given: Mapping[str, Any]) -> str:
    """Of what was asked, not of who is told: in n8n each execution that asks again waits at an address of its own."""
    return hashlib.sha256(json.dumps([name, given], sort_keys=True).encode()).hexdigest()


def _given(flow: OfferedFlow, asked: StartFlow) -> tuple[dict[str, Any], str]:
    """The flow's parameters, and where in the body they stand."""
    if asked.parameters is not None:
        return asked.parameters, "parameters"
    if flow.name == BATCH and asked.model_extra:
        return asked.model_extra, ""
    raise ValidationFailed("Give the flow's `parameters`, an object.", param="parameters", code="missing_field")


def _checked(kind: type[BaseModel], given: Mapping[str, Any], prefix: str) -> BaseModel:
    """Raises RequestValidationError, whose fields are named as they stand in the body."""
    try:
        return kind.model_validate(given)
    except ValidationError as error:
        place = ("body", prefix) if prefix else ("body",)
        faults = error.errors(include_url=False, include_context=False, include_input=False)
        raise RequestValidationError([{**fault, "loc": (*place, *fault["loc"])} for fault in faults]) from None


@contextmanager
def named(prefix: str) -> Iterator[None]:
    """Errors of a field are told by its place in the body."""
    try:
        yield
    except ApiError as error:
        if prefix and error.param:
            error.param = f"{prefix}.{error.param}"
        raise


def _storable(key: str) -> str:
    try:
        return storable(key)
    except ValueError as error:
        raise ValidationFailed(f"The key {error}.", param="idempotency-key") from None
