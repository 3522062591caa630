"""A batch's own process, with its rows and its sandboxes faked and without Prefect."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

import pytest

from db.batches import Begun
from db.records import StepRecord
from flows import batch_runs, code_batch
from flows.batch_jobs import Job, read_jobs, written_jobs
from flows.code_events import CodeAccount
from flows.work import Account, Performed
from wire import telemetry
from wire.context import RequestContext, current
from wire.errors import ApiError
from wire.ids import uuid7

BEGUN = Begun(uuid7(), "ana", "a" * 32, uuid7())


class Batch:
    """Does what `does` says for each job."""

    def __init__(self, does: Callable[[int], None], jobs: int) -> None:
        self.does, self.count = does, jobs
        self.wanted = True
        self.noted: list[tuple[str, int]] = []
        self.finished: tuple[Account, ApiError | None] | None = None
        self.rows = SimpleNamespace(begin=self.begin)
        self.chat_url = "http://chat"
        self.begun = BEGUN
        self.earlier: list[StepRecord] = []

    async def begin(self, run_id: uuid.UUID, flow_run_id: uuid.UUID | None) -> Begun:
        return self.begun

    async def done(self, begun: Begun) -> list[StepRecord]:
        return self.earlier

    async def note(self, begun: Begun, step: StepRecord, position: int) -> None:
        self.noted.append((step.name, position))

    async def jobs(self, begun: Begun) -> list[Job]:
        return [Job("1", "python", 1.0, ())] * self.count

    async def is_open(self, begun: Begun) -> bool:
        return self.wanted

    async def work(self, begun: Begun, job: Job, number: int) -> tuple[Performed, CodeAccount]:
        self.does(number)
        return Performed("completed"), CodeAccount()

    async def finish(self, begun: Begun, account: Account, error: ApiError | None) -> None:
        self.finished = account, error

    async def close(self) -> None:
        pass


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[[Batch], Any]:
    async def nothing(*_: Any) -> None: ...

    monkeypatch.setattr(code_batch, "task", lambda **_: lambda function: function)
    for name in ("name_run", "show_failure", "show_table"):
        monkeypatch.setattr(code_batch, name, nothing)
    monkeypatch.setattr(batch_runs, "end_with_parent", lambda: None)
    monkeypatch.setattr(batch_runs, "load_secrets", lambda _: None)

    async def run(batch: Batch) -> Any:
        monkeypatch.setattr(code_batch, "CodeBatch", lambda *_: batch)
        return await code_batch.code_batch.fn(str(BEGUN.id))

    return run


async def test_an_error_of_ours_in_one_job_does_not_drop_the_jobs_after_it(run: Any) -> None:
    def does(number: int) -> None:
        if number == 1:
            raise TypeError("a form that does not decode")

    batch = Batch(does, 2)
    state = await run(batch)
    assert batch.finished is not None and state.is_failed()
    account, error = batch.finished
    assert [(step.status, step.error_code) for step in account.steps] == [("failed", "job_failed"), ("completed", None)]
    assert "does not decode" in str(account.steps[0].error_detail)
    assert error is not None and error.code == "batch_failed"


async def test_a_job_that_an_earlier_process_had_run_is_not_run_again(run: Any) -> None:
    done: list[int] = []
    batch = Batch(done.append, 3)
    began = datetime.now(UTC) - timedelta(minutes=5)
    batch.begun = replace(BEGUN, resumed=True, started_at=began)
    batch.earlier = [
        StepRecord(uuid7(), "job-1", "completed", began, began),
        StepRecord(uuid7(), "job-2", "failed", began, began, "sandboxes_busy", "none"),
    ]
    state = await run(batch)
    assert done == [3] and batch.noted == [("job-3", 3)] and state.is_failed()
    assert batch.finished is not None
    account, _ = batch.finished
    assert [step.name for step in account.steps] == ["job-1", "job-2", "job-3"]
    assert account.started_at == began and account.elapsed_ms() >= 300_000


async def test_a_batch_whose_row_was_closed_does_not_go_on_with_its_next_job(run: Any) -> None:
    done = []

    def does(number: int) -> None:
        done.append(number)
        batch.wanted = False

    batch = Batch(does, 3)
    state = await run(batch)
    assert done == [1] and state.is_cancelled() and batch.finished is None


async def test_the_run_id_and_trace_of_the_request_reach_the_work_of_its_batch(run: Any) -> None:
    seen: list[RequestContext] = []
    await run(Batch(lambda _: seen.append(current()), 1))
    (context,) = seen
    assert (context.run_id, context.trace.trace_id, context.principal.name) == (BEGUN.id, BEGUN.trace_id, BEGUN.owner)


async def test_a_batch_sends_its_spans_before_its_process_ends(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append((self.path, self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *values: Any) -> None:  # noqa: A002 - its name in the base
            return

    def does(_: int) -> None:
        with telemetry.span("of a job"):
            pass

    collector = HTTPServer(("127.0.0.1", 0), Collector)
    listening = threading.Thread(target=collector.serve_forever, kwargs={"poll_interval": 0.01})
    listening.start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{collector.server_port}")
    try:
        await run(Batch(does, 1))
    finally:
        collector.shutdown()
        listening.join()
        collector.server_close()
    assert {path for path, _ in received} == {"/v1/traces"} and not telemetry.on()
    sent = b"".join(body for _, body in received)
    for told in (b"flow-worker", b"of a job", b"code-batch", bytes.fromhex(BEGUN.trace_id), str(BEGUN.id).encode()):
        assert told in sent


def test_jobs_are_read_as_they_were_written() -> None:
    jobs = [Job("print('ñ')", "python", 2.5, ({"name": "a", "data": "YQ=="}, {"name": "b", "file_id": "1"}))]
    assert read_jobs(written_jobs(jobs)) == jobs
