"""What clients get of runs."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, ConfigDict, computed_field

from db.batch_items import ItemCounts
from db.records import (
    CallbackRecord,
    CallbackState,
    FileRecord,
    MessageRecord,
    RunOrigin,
    RunRecord,
    RunStatus,
    StepKind,
    StepRecord,
)
from services_node.chat_api.schemas import FileOut, MessageOut


class Timings(BaseModel):
    """Milliseconds since the request was read; queue and load as the model server says."""

    model_config = ConfigDict(from_attributes=True)

    queue_ms: float | None
    load_ms: float | None
    first_token_ms: float | None
    total_ms: float | None


class StepOut(BaseModel):
    """parent_id: the step that it is part of. detail: what is worth knowing of it, by its kind."""

    model_config = ConfigDict(from_attributes=True)

    id: uuid.UUID
    name: str
    kind: StepKind
    parent_id: uuid.UUID | None
    status: RunStatus
    detail: dict[str, Any] | None
    started_at: datetime
    ended_at: datetime | None
    error_code: str | None
    error_detail: str | None

    @computed_field  # type: ignore[prop-decorator]
    @property
    def duration_ms(self) -> float | None:
        """Null while it is under way."""
        return None if self.ended_at is None else (self.ended_at - self.started_at).total_seconds() * 1000


class RunError(BaseModel):
    code: str
    detail: str | None


class N8nOut(BaseModel):
    """The execution in n8n that a run was asked by."""

    execution_id: str
    workflow_id: str | None

    @classmethod
    def of(cls, run: RunRecord) -> N8nOut | None:
        if run.n8n_execution_id is None:
            return None
        return cls(execution_id=run.n8n_execution_id, workflow_id=run.n8n_workflow_id)


class CallbackOut(BaseModel):
    """attempts: to tell the run's end. last_error: why the last one failed; null once it was told."""

    model_config = ConfigDict(from_attributes=True)

    url: str
    state: CallbackState
    attempts: int
    last_error: str | None


class RunOut(BaseModel):
    """prefect_recorded: whether Prefect is known to show the run's final state. parent_id: the run that asked for it.

    tool_calls, tool_errors: how many tools were used, and how many of those failed. origin: where the wish for it came
    from; a run that another asked for has that one's.
    """

    id: uuid.UUID
    kind: str
    status: RunStatus
    origin: RunOrigin
    n8n: N8nOut | None
    parent_id: uuid.UUID | None
    conversation_id: uuid.UUID | None
    trace_id: str
    prefect_flow_run_id: uuid.UUID | None
    prefect_recorded: bool
    requested_model: str | None
    model: str | None
    route: str | None
    prompt_tokens: int | None
    completion_tokens: int | None
    tool_calls: int
    tool_errors: int
    timings: Timings
    error: RunError | None
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None

    @classmethod
    def fields_of(cls, run: RunRecord) -> dict[str, Any]:
        return {
            **{name: getattr(run, name) for name in cls.model_fields if hasattr(run, name)},
            "n8n": N8nOut.of(run),
            "prefect_recorded": run.flow_recorded_at is not None,
            "timings": Timings.model_validate(run),
            "error": RunError(code=run.error_code, detail=run.error_detail) if run.error_code else None,
        }

    @classmethod
    def of(cls, run: RunRecord) -> RunOut:
        return RunOut(**RunOut.fields_of(run))


class Progress(BaseModel):
    """Parts that are done, of so many."""

    done: int
    of: int

    @classmethod
    def among(cls, steps: Sequence[StepRecord]) -> Progress | None:
        """Of a run that goes part by part; None of any other."""
        told = [step.detail for step in steps if step.detail is not None and "part" in step.detail]
        return cls(done=told[-1]["part"], of=told[-1]["of"]) if told else None


class RunStory(RunOut):
    """A run, whole. progress: of a document that is spoken, in parts, and of a
    batch of questions, in items. files: what it made and kept. children: runs that it asked
    for. messages: what it wrote in its conversation, while that is there: the question, and the answer with the tools
    used. response: what it answered, a chat's last words or a workflow's JSON. links: its pages in Prefect and n8n.
    callback: where its end is told, where that was wished; callbacks: also where it was asked for once more.
    """

    response: str | None
    links: dict[str, str]
    callback: CallbackOut | None
    callbacks: list[CallbackOut]
    progress: Progress | None
    steps: list[StepOut]
    files: list[FileOut]
    children: list[RunOut]
    messages: list[MessageOut]

    @classmethod
    def of_parts(
        cls,
        run: RunRecord,
        steps: Sequence[StepRecord],
        files: Sequence[FileRecord],
        children: Sequence[RunRecord],
        messages: Sequence[MessageRecord],
        *,
        response: str | None,
        links: Mapping[str, str],
        callbacks: Sequence[CallbackRecord],
        items: ItemCounts | None,
    ) -> RunStory:
        told = [CallbackOut.model_validate(callback) for callback in callbacks]
        return cls(
            **RunOut.fields_of(run),
            progress=Progress.among(steps)
            if items is None
            else Progress(done=items.completed + items.failed, of=items.of),
            steps=[StepOut.model_validate(step) for step in steps],
            files=[FileOut.of(file) for file in files],
            children=[RunOut.of(child) for child in children],
            messages=[MessageOut.of(message) for message in messages],
            response=response,
            links=dict(links),
            callback=told[0] if told else None,
            callbacks=told,
        )


class RunPage(BaseModel):
    runs: list[RunOut]
    next_cursor: str | None
