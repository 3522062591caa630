"""The flow `workflow`: one call, tried again only where nothing was done, and its answer kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from db.records import FileRecord, NewRun
from flows.file_store import NewFile
from flows.link import labels_of
from flows.steps import PlainSteps
from flows.workflows import WorkflowRequest, WorkflowWork
from wire.context import RequestContext
from wire.errors import ApiError, Unavailable, UpstreamFailed
from wire.ids import uuid7
from wire.principals import LOCAL
from wire.trace import TraceContext


class N8n:
    """Answers with the outcomes, one after the other, the last for ever."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)
        self.asked: list[tuple[str, Any, Mapping[str, str]]] = []

    async def call(self, path: str, body: Any, headers: Mapping[str, str], timeout_seconds: float) -> Any:
        self.asked.append((path, body, headers))
        outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


class Kept:
    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    async def save(self, file: NewFile, chunks: AsyncIterator[bytes], *, most_bytes: int) -> FileRecord:
        self.files[file.name] = b"".join([chunk async for chunk in chunks])
        return FileRecord(uuid7(), file.owner, None, file.run_id, file.name, file.media_type, 1, "", "", None)  # type: ignore[arg-type]


class Nobody:
    async def put(self, event: Any) -> None:
        return


async def performed(n8n: N8n, monkeypatch: pytest.MonkeyPatch) -> tuple[WorkflowWork, ApiError | None, Kept]:
    monkeypatch.setattr("flows.workflows.RETRY_SECONDS", 0.0)
    kept, context = Kept(), RequestContext(uuid7(), TraceContext.new(), LOCAL)

    async def written() -> None:
        return

    request = WorkflowRequest(context, "ana", "lead", {"a": 1}, 5)
    work = WorkflowWork(request, n8n, kept, written, file_bytes=1000)
    ended = await work.perform(Nobody(), PlainSteps(), lambda: None)
    assert n8n.asked[0][:2] == ("lead", {"a": 1})
    run_id = str(context.run_id)
    assert {n8n.asked[0][2][name] for name in ("x-capibara6-run-id", "x-capibara6-parent-run-id")} == {run_id}
    assert n8n.asked[0][2]["traceparent"].split("-")[1] == context.trace.trace_id
    return work, ended.error, kept


async def test_the_answer_is_the_runs_file_and_stands_in_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    work, error, kept = await performed(N8n({"ñ": [1]}), monkeypatch)
    assert error is None and kept.files == {"answer.json": '{"ñ": [1]}'.encode()}
    (step,) = work.account.steps
    assert step.status == "completed" and step.detail == {"path": "lead", "answer": '{"ñ": [1]}'}


@pytest.mark.parametrize("code", ["n8n_unreachable", "n8n_not_ready"])
async def test_n8n_that_was_not_there_is_asked_again(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    n8n = N8n(Unavailable("away", code=code), Unavailable("away", code=code), "done")
    _, error, kept = await performed(n8n, monkeypatch)
    assert error is None and len(n8n.asked) == 3 and kept.files == {"answer.json": b'"done"'}


@pytest.mark.parametrize("code", ["workflow_failed", "workflow_answer_not_json", "n8n_timeout", "n8n_disconnected"])
async def test_what_may_have_been_done_is_not_done_twice(code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    n8n = N8n(UpstreamFailed("broken", code=code))
    work, error, kept = await performed(n8n, monkeypatch)
    assert error is not None and error.code == code and len(n8n.asked) == 1 and not kept.files
    assert [(step.status, step.error_code) for step in work.account.steps] == [("failed", code)]


def test_prefect_is_told_where_a_run_comes_from() -> None:
    run = NewRun(uuid7(), "ana", "chat", None, False, "", "0" * 32, "s", uuid7(), None, (), origin="n8n",
                 n8n_execution_id="42")  # fmt: skip
    assert labels_of(run) == ("origin:n8n", "n8n:42")
