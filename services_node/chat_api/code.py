"""`POST /api/code/run`, its stream, and the older clients' `POST /api/e2b/execute`."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from db.records import NewRun
from flows.code import CodeRequest, CodeWork, GivenFile
from services_node.chat_api.code_schemas import CodeJob, CodeRunRequest, OlderCodeRequest
from services_node.chat_api.code_telling import ActiveCode, code_event, code_reply
from services_node.chat_api.parts import Parts, parts_of
from services_node.chat_api.provenance import provenance
from services_node.chat_api.telling import RunStream, opened, told_at_once
from stack.settings import Settings
from wire.context import current
from wire.errors import TooLarge, ValidationFailed

router = APIRouter(tags=["code"])

_REPLIES: dict[int | str, dict[str, Any]] = {
    200: {"description": "What the code said and made, or with `stream: true` the same as server-sent events."}
}


@router.post("/api/code/run", response_model=None, responses=_REPLIES)
async def run_code(asked: CodeRunRequest, request: Request) -> Response:
    """Runs code in a sandbox. With `conversation_id`, in the conversation's own, whose variables and files live on."""
    if asked.stream:
        return await _stream(asked, request)
    active = await _begin(parts_of(request), asked, streaming=False)
    return JSONResponse(await told_at_once(active, request.receive, code_reply))


@router.post("/api/code/run/stream", response_model=None, responses=_REPLIES)
async def run_code_stream(asked: CodeRunRequest, request: Request) -> Response:
    """The same, always streamed."""
    return await _stream(asked, request)


@router.post("/api/e2b/execute")
async def execute(asked: OlderCodeRequest, request: Request) -> JSONResponse:
    """The shape older clients know. Their `template` chose limits; these are the stack's own."""
    known = CodeRunRequest.model_validate(asked.model_dump())
    active = await _begin(parts_of(request), known, streaming=False)
    said = await told_at_once(active, request.receive, code_reply)
    error = said["error"]
    shown = [result["text"] for result in said["results"] if result["text"]]
    return JSONResponse(
        {
            "success": error is None,
            "output": [*said["stdout"].splitlines(), *shown],
            "errors": [*said["stderr"].splitlines(), *([f"{error['name']}: {error['value']}"] if error else [])],
            "execution_time": said["duration_ms"] / 1000,
            "template_used": "code-interpreter-v1",
            "stdout": said["stdout"],
            "stderr": said["stderr"],
            "results": said["results"],
            "files": said["files"],
            "sandbox_id": said["sandbox_id"],
            "run_id": said["run_id"],
        }
    )


async def _stream(asked: CodeRunRequest, request: Request) -> Response:
    parts = parts_of(request)
    active = await _begin(parts, asked, streaming=True)
    await opened(active, request.receive, parts.settings.chat_header_wait_seconds)
    return RunStream(active, parts.settings.chat_keep_alive_seconds, code_event)


async def _begin(parts: Parts, asked: CodeRunRequest, *, streaming: bool) -> ActiveCode:
    return begin_code(parts, await asked_code(parts, asked), streaming=streaming)


async def asked_code(parts: Parts, asked: CodeRunRequest) -> CodeRequest:
    """Checks the request. Raises what is wrong with it, NotFound, TooLarge, TooManyRequests."""
    settings, context = parts.settings, current()
    owner, conversation_id = context.principal.name, asked.conversation_id
    timeout_seconds = checked_timeout(asked, settings)
    parts.conductor.admit("code")
    earlier_runs = False
    if conversation_id is not None:
        await parts.conversations.get(conversation_id, owner)
        earlier_runs = await parts.runs.ran_before(conversation_id, owner, "code")
    return CodeRequest(
        run_id=context.run_id,
        owner=owner,
        conversation_id=conversation_id,
        code=asked.code,
        language=asked.language,
        files=await given_files(asked, parts, owner),
        timeout_seconds=timeout_seconds,
        earlier_runs=earlier_runs,
    )


def begin_code(parts: Parts, request: CodeRequest, *, streaming: bool, queued: bool = False) -> ActiveCode:
    """Begins the run and returns at once. queued: whether it is written already, and waits."""
    context = current()
    run = NewRun(
        id=request.run_id,
        owner=request.owner,
        kind="code",
        conversation_id=request.conversation_id,
        new_conversation=False,
        title="",
        trace_id=context.trace.trace_id,
        stack_id=parts.stack_id,
        instance_id=parts.instance_id,
        requested_model=None,
        messages=(),
        parent_id=context.parent_run_id,
        queued=queued,
        **provenance("api"),
    )
    work = CodeWork(request, parts.code, lambda: parts.conductor.written(request.run_id))
    return parts.conductor.begin(work, run, streaming=streaming)


def checked_timeout(job: CodeJob, settings: Settings) -> float:
    """Seconds the code may take. Raises ValidationFailed for code or a limit beyond this stack's."""
    if len(job.code) > settings.max_code_chars:
        raise ValidationFailed(
            f"`code` has {len(job.code)} characters; at most {settings.max_code_chars} are run "
            "(CAPIBARA6_MAX_CODE_CHARS).",
            param="code",
            code="code_too_long",
        )
    if job.timeout_seconds is None:
        return settings.code_timeout_seconds
    if job.timeout_seconds > settings.code_max_timeout_seconds:
        raise ValidationFailed(
            f"`timeout_seconds` is at most {settings.code_max_timeout_seconds:g} (CAPIBARA6_CODE_MAX_TIMEOUT_SECONDS).",
            param="timeout_seconds",
            code="timeout_too_long",
        )
    return job.timeout_seconds


async def given_files(job: CodeJob, parts: Parts, owner: str) -> tuple[GivenFile, ...]:
    """The files of a request, stored ones by where they are. Raises ValidationFailed, TooLarge, NotFound."""
    settings = parts.settings
    if len(job.files) > settings.code_input_files:
        raise ValidationFailed(
            f"At most {settings.code_input_files} files are taken (CAPIBARA6_CODE_INPUT_FILES).",
            param="files",
            code="too_many_files",
        )
    given, total = [], 0
    for file in job.files:
        if file.file_id is not None:
            record, path = await parts.files.find(file.file_id, owner)
            given.append(GivenFile(file.name, path))
            total += record.size_bytes
        else:
            data = file.data()
            given.append(GivenFile(file.name, data))
            total += len(data)
    if total > settings.code_input_bytes:
        raise TooLarge(
            f"The files have {total} bytes; at most {settings.code_input_bytes} are taken "
            "(CAPIBARA6_CODE_INPUT_BYTES).",
            code="files_too_large",
            param="files",
        )
    return tuple(given)
