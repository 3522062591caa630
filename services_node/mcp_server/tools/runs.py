"""`get_run`, `start_flow` and `flow_status`: work that was asked for, and how it goes."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from services_node.mcp_server.asking import asking
from services_node.mcp_server.registry import Call, Registry, ToolFailed

registry = Registry()

OPEN = frozenset({"queued", "running"})
MAX_PARAMETERS_CHARS = 200_000
SET_BY_PEOPLE = "tools"  # what a run may do: a model that may begin one could give it more than it has itself
RunId = Annotated[uuid.UUID, Field(description="The run's id (a UUID).")]


class Told(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Step(Told):
    name: str
    status: str
    started_at: str | None = None
    ended_at: str | None = None
    error_code: str | None = None
    error_detail: str | None = None


class RunFile(Told):
    id: str
    name: str
    media_type: str
    size_bytes: int


class RunFault(Told):
    code: str
    detail: str | None = None


class RunTold(Told):
    """A run, its steps and what it made."""

    id: str
    kind: str
    status: str
    model: str | None = None
    route: str | None = None
    conversation_id: str | None = None
    created_at: str
    started_at: str | None = None
    ended_at: str | None = None
    tool_calls: int = 0
    tool_errors: int = 0
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    timings: dict[str, float | None] = Field(default_factory=dict, description="In milliseconds.")
    error: RunFault | None = None
    steps: list[Step] = Field(default_factory=list)
    files: list[RunFile] = Field(default_factory=list)

    def text(self) -> str:
        total = self.timings.get("total_ms")
        lines = [
            f"Run {self.id} ({self.kind}): {self.status}" + (f" after {total:.0f} ms" if total is not None else "")
        ]
        if self.model:
            lines.append(f"Model: {self.model}" + (f" ({self.route})" if self.route else ""))
        if self.tool_calls:
            lines.append(f"Tools used: {self.tool_calls}, failed: {self.tool_errors}")
        if self.error is not None:
            lines.append(f"Error: {self.error.code}: {self.error.detail or ''}".rstrip(": "))
        lines += [
            f"- {step.name}: {step.status}" + (f" ({step.error_code}: {step.error_detail})" if step.error_code else "")
            for step in self.steps
        ]
        lines += [f"- file {one.name} ({one.size_bytes} bytes): capibara6://files/{one.id}" for one in self.files]
        return "\n".join(lines)


class FlowStarted(BaseModel):
    """A run that was queued."""

    run_id: str
    status: str
    flow: str

    def text(self) -> str:
        return f"Flow {self.flow} is {self.status} as run {self.run_id}. `flow_status` tells how it goes."


class FlowStatus(BaseModel):
    """How a run goes."""

    run_id: str
    flow: str
    status: str
    finished: bool
    conversation_id: str | None = None
    error: RunFault | None = None
    files: list[RunFile] = Field(default_factory=list)

    def text(self) -> str:
        fault = f": {self.error.code}: {self.error.detail or ''}".rstrip(": ") if self.error is not None else ""
        made = "".join(f"\n- file {one.name}: capibara6://files/{one.id}" for one in self.files)
        if self.conversation_id is not None:
            made = f"\n- conversation: capibara6://conversations/{self.conversation_id}{made}"
        return f"Run {self.run_id} of {self.flow} is {self.status}{fault}.{made}"


@registry.tool(
    title="Look at a run",
    read_only=True,
    idempotent=True,
    untrusted=True,  # errors and names of files repeat what code and pages said
    marked=False,
    timeout_seconds=15,
    cost="cheap",
    examples=(
        (
            "What happened in run 01a21b54-6d3c-7e6d-9775-8596ad03568d?",
            {"run_id": "01a21b54-6d3c-7e6d-9775-8596ad03568d"},
        ),
    ),
    keywords={
        "es": ("ejecución", "run", "pasos", "tiempos", "falló", "error", "traza", "tardó"),
        "en": ("run", "execution", "steps", "timings", "failed", "error", "trace", "took"),
    },
)
async def get_run(run_id: RunId, *, call: Call) -> RunTold:
    """Tells the story of a run: its status, model, steps with their errors, timings and files."""
    return await _run(run_id, call)


@registry.tool(
    title="Start a flow",
    timeout_seconds=30,
    cost="expensive",
    examples=(("Start the flow chat with the message hello", {"flow": "chat", "parameters": {"message": "hello"}}),),
    keywords={
        "es": ("flujo", "inicia", "iniciar", "lanza", "lanzar", "arranca", "programa", "lote", "segundo", "plano"),
        "en": ("flow", "workflow", "start", "launch", "trigger", "batch", "background", "job"),
    },
)
async def start_flow(
    flow: Annotated[str, Field(min_length=1, max_length=100, description="The flow's name, as `code-batch`.")],
    parameters: Annotated[dict[str, Any], Field(description="What the flow is given; {} for nothing.")],
    *,
    call: Call,
) -> FlowStarted:
    """Starts a flow in the background and returns its run id at once. Use it only when the user asks for it."""
    if parameters.get(SET_BY_PEOPLE) not in (None, False):
        raise ToolFailed(
            f"`{SET_BY_PEOPLE}` in `parameters` is not yours to give: which tools a flow may use is decided by people, "
            "never by a model. Leave it out for the usual ones, or say false for none."
        )
    written = json.dumps(parameters, sort_keys=True, ensure_ascii=False)
    if len(written) > MAX_PARAMETERS_CHARS:
        raise ToolFailed(f"`parameters` has {len(written)} characters; at most {MAX_PARAMETERS_CHARS} are taken.")
    with asking("list of flows"):
        known = {str(one["name"]): str(one.get("description") or "") for one in await call.parts.assistant.flows()}
    if flow not in known:
        listed = "".join(f"\n- {name}: {about}".rstrip(": ") for name, about in known.items())
        raise ToolFailed(f"There is no flow `{flow}`. There are:{listed or ' none.'}")
    # said twice within one run, it is started once: a model that repeats itself does no harm
    key = hashlib.sha256(f"{call.run_id} {flow} {written}".encode()).hexdigest()
    with asking(f"flow `{flow}`"):
        told = await call.parts.assistant.start_flow(flow, parameters, key)
    return FlowStarted(run_id=str(told["run_id"]), status=str(told.get("status") or "queued"), flow=flow)


@registry.tool(
    title="How a flow goes",
    read_only=True,
    idempotent=True,
    timeout_seconds=15,
    cost="cheap",
    examples=(
        (
            "How is the flow run 01a21b54-6d3c-7e6d-9775-8596ad03568d doing?",
            {"run_id": "01a21b54-6d3c-7e6d-9775-8596ad03568d"},
        ),
    ),
    keywords={
        "es": ("flujo", "estado", "terminó", "progreso", "lote", "acabó"),
        "en": ("flow", "workflow", "status", "finished", "progress", "batch", "done"),
    },
)
async def flow_status(run_id: RunId, *, call: Call) -> FlowStatus:
    """Tells whether a flow that was started is done, and the files it made."""
    found = await _run(run_id, call)
    return FlowStatus(
        run_id=found.id,
        flow=found.kind,
        status=found.status,
        finished=found.status not in OPEN,
        conversation_id=found.conversation_id,
        error=found.error,
        files=found.files,
    )


async def _run(run_id: uuid.UUID, call: Call) -> RunTold:
    with asking(f"run {run_id}"):
        return RunTold.model_validate(await call.parts.assistant.run(run_id))
