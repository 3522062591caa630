"""What an event says of its run, and how it is signed."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from db.files import Files
from db.outbox import Leased
from db.records import FileRecord, MessageRecord, OutgoingEvent, RunRecord, StepRecord
from db.runs import Runs
from db.turns import Turns
from flows.code_told import file_url
from flows.workflows import ANSWER, KIND
from stack.secrets import Secrets
from wire import webhooks
from wire.errors import NotFound
from wire.webhooks import derived_secret

MOST_FILES = 200


@dataclass(frozen=True, slots=True)
class Pages:
    """Where people look at runs: Prefect's and n8n's base URLs."""

    prefect: str
    n8n: str

    def links(self, run: RunRecord) -> dict[str, str]:
        found = {}
        if run.prefect_flow_run_id is not None:
            found["prefect"] = f"{self.prefect}/runs/flow-run/{run.prefect_flow_run_id}"
        if run.n8n_execution_id is not None and run.n8n_workflow_id is not None:
            found["n8n"] = f"{self.n8n}/workflow/{run.n8n_workflow_id}/executions/{run.n8n_execution_id}"
        return found


def n8n_told(run: RunRecord) -> dict[str, str | None] | None:
    if run.n8n_execution_id is None:
        return None
    return {"execution_id": run.n8n_execution_id, "workflow_id": run.n8n_workflow_id}


def response_of(messages: Sequence[MessageRecord], steps: Sequence[StepRecord]) -> str | None:
    """What a run answered: a chat's last words, a workflow's answer. None where there is no such thing."""
    said = [message.content for message in messages if message.role == "assistant"]
    answers = [step.detail[ANSWER] for step in steps if step.detail is not None and ANSWER in step.detail]
    return said[-1] if said else str(answers[-1]) if answers else None


def hook_secret(secrets: Secrets, hook_id: uuid.UUID) -> str:
    return derived_secret(secrets.hooks_key.get_secret_value(), f"hook:{hook_id}")


def owner_secret(secrets: Secrets, owner: str) -> str:
    """By which an owner's callbacks are signed."""
    return webhooks.owner_secret(secrets.hooks_key.get_secret_value(), owner)


def secret_of(secrets: Secrets, leased: Leased) -> str:
    return hook_secret(secrets, leased.id) if leased.is_hook else owner_secret(secrets, leased.owner)


@dataclass(frozen=True, slots=True)
class EventWriter:
    """Writes events as they are sent. response_chars: of an answer that is told."""

    runs: Runs
    files: Files
    turns: Turns
    pages: Pages
    response_chars: int

    async def body(self, event: OutgoingEvent) -> bytes:
        told = {
            "type": event.event,
            "timestamp": event.created_at.isoformat(),
            "data": {"run": await self._run(event)},
        }
        return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode()

    async def _run(self, event: OutgoingEvent) -> dict[str, Any]:
        known = {
            "id": str(event.run_id),
            "kind": event.kind,
            "status": event.status,
            "origin": event.origin,
            "url": f"/api/runs/{event.run_id}",
        }
        try:
            run = await self.runs.get(event.run_id, event.owner)
        except NotFound:  # removed meanwhile
            return known
        messages = await self.turns.said(run.id, event.owner) if run.conversation_id is not None else []
        steps = await self.runs.steps(run.id) if run.kind == KIND else []
        files = await self.files.of_run(run.id, event.owner)
        return known | run_told(run, files, response_of(messages, steps), self.pages, self.response_chars)


def run_told(
    run: RunRecord, files: Sequence[FileRecord], response: str | None, pages: Pages, response_chars: int
) -> dict[str, Any]:
    """The run as its owner is told of its end."""
    return {
        "conversation_id": str(run.conversation_id) if run.conversation_id else None,
        "parent_id": str(run.parent_id) if run.parent_id else None,
        "model": run.model,
        "error": {"code": run.error_code, "detail": run.error_detail} if run.error_code else None,
        "files": [
            {
                "id": str(file.id),
                "name": file.name,
                "media_type": file.media_type,
                "size_bytes": file.size_bytes,
                "url": file_url(file),
            }
            for file in files[:MOST_FILES]
        ],
        "links": pages.links(run),
        "n8n": n8n_told(run),
        "created_at": run.created_at.isoformat(),
        "started_at": run.started_at.isoformat() if run.started_at else None,
        "ended_at": run.ended_at.isoformat() if run.ended_at else None,
        "response": response[:response_chars] if response is not None else None,
        "response_cut": response is not None and len(response) > response_chars,
    }
