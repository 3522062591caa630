"""A run of code: a sandbox, the files it is given, the code, and what it made. One coroutine, whose steps are tasks of
its flow run once that stands.

Code that fails, or takes longer than it may, is a run that went well: its error is a part of the account. A run fails
when the sandbox does.
"""

from __future__ import annotations

import asyncio
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from db.records import FileRecord, FinishedRun, NewRun, OwnedRun, RunStatus
from flows.code_events import (
    CodeAccount,
    CodeEvent,
    CodeLimits,
    CodeResult,
    CodeStarted,
    FileKept,
    FormFile,
    LeftOut,
    Raised,
    Text,
    changed,
    figure_name,
    sorted_forms,
)
from flows.errors import code_timeout, conversation_busy, too_many_waiting
from flows.file_store import NewFile, media_type_of, one_chunk
from flows.sandbox import Entry, Executed, Listener, RawResult, Sandbox, Sandboxes, TextStream, Wanted
from flows.steps import Effect, Steps, T
from flows.work import Performed, Sink, Span, finished_run
from wire.context import current_or_none, enter
from wire.errors import ApiError

OPEN, UPLOAD, RUN, COLLECT = "open_sandbox", "upload_files", "run_code", "collect_files"
NEW_SANDBOX = "The sandbox of this conversation had ended: this is a new one, without earlier variables and files."
FAULTS_OF_FILES = {"file_too_large", "owner_files_full", "file_refused", "sandbox_failed", "step_timeout"}
CODE_ERROR = "code_error"  # of a step whose code ended with an error of its own


@dataclass(frozen=True, slots=True)
class GivenFile:
    """A file for the sandbox. path: relative to its home."""

    path: str
    source: bytes | Path


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """earlier_runs: whether code ran in this conversation before, so that a new sandbox has lost something."""

    run_id: uuid.UUID
    owner: str
    conversation_id: uuid.UUID | None
    code: str
    language: str
    files: tuple[GivenFile, ...]
    timeout_seconds: float
    earlier_runs: bool = False


class ConversationTurns:
    """One run of code at a time a conversation; the others wait, bounded in number and time."""

    def __init__(self) -> None:
        self._locks: defaultdict[uuid.UUID, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._here: defaultdict[uuid.UUID, int] = defaultdict(int)

    @asynccontextmanager
    async def turn(self, conversation_id: uuid.UUID | None, limits: CodeLimits) -> AsyncIterator[None]:
        """Raises TooManyRequests, or Unavailable when the turn does not come in time."""
        if conversation_id is None:
            yield
            return
        if self._here[conversation_id] > limits.conversation_queue_limit:
            raise too_many_waiting(limits.conversation_queue_limit)
        lock = self._locks[conversation_id]
        self._here[conversation_id] += 1
        try:
            try:
                async with asyncio.timeout(limits.conversation_wait_seconds):
                    await lock.acquire()
            except TimeoutError:
                raise conversation_busy(limits.conversation_wait_seconds) from None
            try:
                yield
            finally:
                lock.release()
        finally:
            self._here[conversation_id] -= 1
            if not self._here[conversation_id]:
                del self._here[conversation_id], self._locks[conversation_id]


class FileKeeper(Protocol):
    """`flows.file_store.FileStore`."""

    async def save(self, file: NewFile, chunks: AsyncIterator[bytes], *, most_bytes: int) -> FileRecord: ...


@dataclass(frozen=True, slots=True)
class CodeTools:
    """What runs of code work with."""

    sandboxes: Sandboxes
    files: FileKeeper
    turns: ConversationTurns
    limits: CodeLimits


class CodeWork:
    """`flows.work.Work`. written: waits until the run's row is there, which its files belong to."""

    kind = "code"

    def __init__(self, request: CodeRequest, tools: CodeTools, written: Callable[[], Awaitable[None]]) -> None:
        self._request = request
        self._tools = tools
        self._written = written
        self.account = CodeAccount()

    @property
    def timeout_seconds(self) -> float:
        limits = self._tools.limits
        waiting = limits.conversation_wait_seconds if self._request.conversation_id else 0
        return self._request.timeout_seconds + waiting + 3 * limits.sandbox_wait_seconds

    def timed_out(self) -> ApiError:
        return code_timeout(self.timeout_seconds)

    async def perform(self, sink: Sink[CodeEvent], steps: Steps, on_first_output: Callable[[], None]) -> Performed:
        task = _Execution(self._request, self._tools, self._written, self.account, sink, steps, on_first_output)
        try:
            async with self._tools.turns.turn(self._request.conversation_id, self._tools.limits):
                try:
                    await task.perform()
                finally:
                    if self._request.conversation_id is not None:
                        self._tools.sandboxes.release(self._request.conversation_id)
        except ApiError as error:
            return Performed("failed", error)
        return Performed("completed")

    def finished(self, run: NewRun, status: RunStatus, error: ApiError | None, span: Span) -> FinishedRun:
        owned = OwnedRun(run.id, run.owner, run.conversation_id)
        return finished_run(owned, self.account, status, error, span)


@dataclass(slots=True)
class _Execution:
    """The run itself, in its turn."""

    request: CodeRequest
    tools: CodeTools
    written: Callable[[], Awaitable[None]]
    account: CodeAccount
    sink: Sink[CodeEvent]
    steps: Steps
    on_first_output: Callable[[], None]

    async def perform(self) -> None:
        request, limits, sandboxes = self.request, self.tools.limits, self.tools.sandboxes
        kept = request.conversation_id is not None
        margin = limits.conversation_idle_seconds if kept else 3 * limits.sandbox_wait_seconds
        wanted = Wanted(request.owner, request.run_id, request.conversation_id, request.timeout_seconds + margin)
        opened = await self._step(OPEN, lambda: sandboxes.open(wanted), limits.sandbox_wait_seconds)
        sandbox, account = opened.sandbox, self.account
        try:
            account.sandbox_id = sandbox.id
            account.notice = NEW_SANDBOX if opened.fresh and request.earlier_runs else None
            await self.sink.put(CodeStarted(sandbox.id, account.notice))
            if request.files:
                await self._step(UPLOAD, lambda: self._upload(sandbox), limits.sandbox_wait_seconds)
            before = await self._listed(sandbox)
            await self._run(sandbox)
            if before is not None and (after := await self._listed(sandbox)) is not None:
                await self._collect(sandbox, changed(before, after))
        except ApiError:
            if request.conversation_id is not None:
                sandboxes.forget(request.conversation_id)
            raise
        finally:
            if not kept:
                sandboxes.discard(sandbox)

    async def _step(self, name: str, effect: Effect[T], seconds: float) -> T:
        context = current_or_none()

        async def in_context() -> T:
            if context is not None:  # a step of a flow run begins in that thread's own
                enter(context)
            return await effect()

        async with self.account.step(name, kind="sandbox"):
            return await self.steps.run(name, in_context, timeout_seconds=seconds)

    async def _listed(self, sandbox: Sandbox) -> dict[str, Entry] | None:
        """The home's files; None, and noted, where what is in there keeps them from being listed."""
        try:
            return await sandbox.entries(self.tools.limits.output_depth)
        except ApiError as error:
            self._leave_out(".", 0, error)
            return None

    def _leave_out(self, name: str, size_bytes: int, error: ApiError) -> None:
        """Notes why a file is not kept. Raises the error itself when it is no fault of the file."""
        if error.code not in FAULTS_OF_FILES:
            raise error
        self.account.files_left_out.append(LeftOut(name, size_bytes, error.detail))

    async def _upload(self, sandbox: Sandbox) -> None:
        for file in self.request.files:
            await sandbox.write(file.path, file.source)

    async def _run(self, sandbox: Sandbox) -> None:
        request, account = self.request, self.account

        async def run() -> Executed:
            listener = Listener(self._hear, self._show)
            return await sandbox.run(request.code, request.language, listener, request.timeout_seconds)

        # The limit on the code is the sandbox's to keep; this one is for a sandbox that does not.
        seconds = request.timeout_seconds + self.tools.limits.sandbox_wait_seconds
        executed = await self._step(RUN, run, seconds)
        account.execution_count, account.error = executed.execution_count, executed.error
        if executed.error is not None:
            detail = f"{executed.error.name}: {executed.error.value}"
            account.steps[-1] = replace(account.steps[-1], error_code=CODE_ERROR, error_detail=detail)
            self.on_first_output()
            await self.sink.put(Raised(executed.error))

    async def _hear(self, stream: TextStream, text: str) -> None:
        passed_on = self.account.take(stream, text, self.tools.limits.output_bytes)
        if passed_on:
            self.on_first_output()
            await self.sink.put(Text(stream, passed_on))

    async def _show(self, raw: RawResult) -> None:
        self.on_first_output()
        inline, as_files = sorted_forms(raw, self.tools.limits.inline_bytes)
        number, kept = len(self.account.results) + 1, []
        for form, data in as_files.items():
            name = figure_name(number, form)
            record = await self._keep(name, one_chunk(data), len(data))
            if record is not None:
                kept.append(FormFile(form, record))
        result = CodeResult(raw.is_main_result, inline, tuple(kept))
        self.account.results.append(result)
        await self.sink.put(result)

    async def _collect(self, sandbox: Sandbox, made: list[Entry]) -> None:
        """Keeps the files that it can within its time. What the code said is never lost for a file's sake."""
        left = list(made)

        async def collect() -> None:
            while left:
                entry = left[0]
                await self._keep(entry.path, sandbox.read(entry.path), entry.size_bytes)
                left.pop(0)

        if not made:
            return
        try:
            await self._step(COLLECT, collect, self.tools.limits.sandbox_wait_seconds)
        except ApiError as error:
            for entry in left:
                self._leave_out(entry.path, entry.size_bytes, error)

    async def _keep(self, name: str, chunks: AsyncIterator[bytes], size_bytes: int) -> FileRecord | None:
        """Keeps a file of the run and tells of it; None, and noted why, when it is too much."""
        room = self.account.room(self.tools.limits, name, size_bytes)
        if not room:
            return None
        await self.written()
        request = self.request
        new = NewFile(request.owner, name, media_type_of(name), request.run_id, request.conversation_id)
        try:
            record = await self.tools.files.save(new, chunks, most_bytes=room)
        except ApiError as error:  # it cannot be read, is gone, or grew while it was read
            self._leave_out(name, size_bytes, error)
            return None
        self.account.files.append(record)
        await self.sink.put(FileKept(record))
        return record
