"""The flow `workflow`: a workflow of n8n is begun by its webhook, and its answer is the run's.

The call is one step, a task of the flow run where that stands. It is tried again only where nothing can have been done:
n8n could not be reached, or said itself that it is not ready.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from db.records import FileRecord, FinishedRun, NewRun, OwnedRun, RunStatus
from flows.errors import workflow_timeout
from flows.file_store import NewFile, one_chunk
from flows.link import Retries
from flows.speaking import FileKeeper
from flows.steps import Steps
from flows.work import Account, Performed, Sink, Span, finished_run
from stack.settings import Settings
from stack.topology import PLANNED_URLS, SERVICES, load_topology
from wire.context import PARENT_RUN_HEADER, RequestContext, enter, outgoing_headers
from wire.errors import ApiError

KIND = "workflow"
ANSWER = "answer"  # in its step's detail: the answer as text, its beginning where that is long
FILE = "answer.json"
ANSWER_CHARS = 32_000
RETRIES, RETRY_SECONDS = 2, 1.0
LEFT_SECONDS = 30.0  # of a run, beside the call's own limit: trying again, keeping the answer
_WORTH_TRYING_AGAIN = frozenset({"n8n_unreachable", "n8n_not_ready"})


def n8n_url(settings: Settings) -> str:
    """n8n's base URL, without a path."""
    topology = load_topology(settings)
    if any(service.name == "n8n" for service in SERVICES):
        return topology.url("n8n")
    node, port = PLANNED_URLS["N8N"]
    return f"http://{topology.address(node)}:{port + topology.port_offset}"


def worth_trying_again(error: BaseException) -> bool:
    return isinstance(error, ApiError) and error.code in _WORTH_TRYING_AGAIN


class Workflows(Protocol):
    """`wire.clients.n8n.WorkflowClient`."""

    async def call(self, path: str, body: Any, headers: Mapping[str, str], timeout_seconds: float) -> Any: ...


@dataclass(frozen=True, slots=True)
class WorkflowRequest:
    """path: of the webhook, checked. body: JSON."""

    context: RequestContext
    owner: str
    path: str
    body: Any
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Begins:
    """What such a run tells while it runs: nobody listens, so nothing but that it began."""

    opens: ClassVar[bool] = True


@dataclass(slots=True)
class WorkflowAccount(Account):
    files: list[FileRecord] = field(default_factory=list)


class WorkflowWork:
    """`flows.work.Work`. written: waits until the run's row is there, which its file belongs to."""

    kind = KIND

    def __init__(
        self,
        request: WorkflowRequest,
        workflows: Workflows,
        files: FileKeeper,
        written: Callable[[], Awaitable[None]],
        *,
        file_bytes: int,
    ) -> None:
        self._request = request
        self._workflows = workflows
        self._files = files
        self._written = written
        self._file_bytes = file_bytes
        self.account = WorkflowAccount()

    @property
    def timeout_seconds(self) -> float:
        return self._request.timeout_seconds * (RETRIES + 1) + LEFT_SECONDS

    def timed_out(self) -> ApiError:
        return workflow_timeout(self.timeout_seconds)

    async def perform(self, sink: Sink[Begins], steps: Steps, on_first_output: Callable[[], None]) -> Performed:
        request = self._request
        on_first_output()
        retries = Retries(RETRIES, worth_trying_again, RETRY_SECONDS)

        async def called() -> Any:
            enter(request.context)  # a step of a flow run begins in that thread's own
            return await self._workflows.call(request.path, request.body, headers, request.timeout_seconds)

        headers = outgoing_headers(request.context) | {PARENT_RUN_HEADER: str(request.context.run_id)}
        try:
            await sink.put(Begins())
            async with self.account.step(f"workflow {request.path}") as note:
                note.detail["path"] = request.path
                seconds = request.timeout_seconds + 1  # its own error is told first
                answer = await steps.run("call_workflow", called, timeout_seconds=seconds, retries=retries)
                text = json.dumps(answer, ensure_ascii=False)
                note.detail[ANSWER] = text[:ANSWER_CHARS]
            await self._written()
            new = NewFile(request.owner, FILE, "application/json", request.context.run_id)
            data = text.encode(errors="replace")
            self.account.files.append(await self._files.save(new, one_chunk(data), most_bytes=self._file_bytes))
        except ApiError as error:
            return Performed("failed", error)
        return Performed("completed")

    def finished(self, run: NewRun, status: RunStatus, error: ApiError | None, span: Span) -> FinishedRun:
        return finished_run(OwnedRun(run.id, run.owner, run.conversation_id), self.account, status, error, span)
