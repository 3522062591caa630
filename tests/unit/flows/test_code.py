"""A run of code with everything around it faked: what it asks of the sandbox, tells, keeps and notes."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import uuid
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from db.records import FileRecord
from flows.code import CodeRequest, CodeTools, CodeWork, ConversationTurns, GivenFile
from flows.code_events import (
    CodeAccount,
    CodeEvent,
    CodeLimits,
    CodeStarted,
    FileKept,
    Raised,
    Text,
    changed,
    sorted_forms,
)
from flows.errors import file_refused, sandbox_failed, sandbox_lost
from flows.file_store import NewFile
from flows.sandbox import CodeError, Entry, Executed, Listener, Opened, RawResult, Sandbox, Wanted
from flows.steps import PlainSteps
from flows.work import Performed
from wire.context import RequestContext, current, enter
from wire.errors import ApiError, TooManyRequests, Unavailable
from wire.ids import uuid7
from wire.principals import LOCAL
from wire.trace import TraceContext

LIMITS = CodeLimits(
    sandbox_wait_seconds=5,
    conversation_idle_seconds=60,
    conversation_queue_limit=1,
    conversation_wait_seconds=5,
    output_bytes=10,
    inline_bytes=20,
    output_files=2,
    output_file_bytes=100,
    output_depth=4,
)
THEN = datetime(2026, 1, 1, tzinfo=UTC)


class Box:
    id = "box"

    def __init__(self, *events: Any, files: dict[str, bytes] | None = None, error: CodeError | None = None) -> None:
        self.events, self.made, self.error = events, files or {}, error
        self.files: dict[str, bytes] = {}
        self.unreadable: dict[str, ApiError] = {}
        self.unlistable: ApiError | None = None  # without events, before the run too
        self.ran = False

    async def write(self, path: str, source: bytes | Path) -> None:
        assert isinstance(source, bytes)
        self.files[path] = source

    async def entries(self, depth: int) -> dict[str, Entry]:
        if self.unlistable is not None and (not self.events or self.ran):
            raise self.unlistable
        return {path: Entry(path, len(data), THEN) for path, data in self.files.items()}

    async def read(self, path: str) -> AsyncIterator[bytes]:
        if path in self.unreadable:
            raise self.unreadable[path]
        yield self.files[path]

    async def run(self, code: str, language: str, listener: Listener, timeout_seconds: float) -> Executed:
        for event in self.events:
            if isinstance(event, BaseException):
                raise event
            if isinstance(event, asyncio.Event):
                await event.wait()
            elif isinstance(event, RawResult):
                await listener.result(event)
            else:
                await listener.text("stdout", event)
        self.files |= self.made
        self.ran = True
        return Executed(1, self.error)


class Boxes:
    def __init__(self, box: Box, *, fresh: bool = True) -> None:
        self.box, self.fresh = box, fresh
        self.wanted: list[Wanted] = []
        self.discarded: list[str] = []
        self.forgotten: list[uuid.UUID] = []
        self.released: list[uuid.UUID] = []

    async def open(self, wanted: Wanted) -> Opened:
        self.wanted.append(wanted)
        return Opened(self.box, self.fresh)

    def discard(self, sandbox: Sandbox) -> None:
        self.discarded.append(sandbox.id)

    def forget(self, conversation_id: uuid.UUID) -> None:
        self.forgotten.append(conversation_id)

    def release(self, conversation_id: uuid.UUID) -> None:
        self.released.append(conversation_id)


class Kept:
    async def save(self, file: NewFile, chunks: AsyncIterator[bytes], *, most_bytes: int) -> FileRecord:
        data = b"".join([chunk async for chunk in chunks])
        return FileRecord(
            uuid7(), file.owner, None, file.run_id, file.name, file.media_type, len(data), "0", "p", datetime.now(UTC)
        )


class Told:
    def __init__(self) -> None:
        self.events: list[CodeEvent] = []

    async def put(self, event: CodeEvent) -> None:
        self.events.append(event)


async def nothing() -> None:
    pass


def work(boxes: Boxes, turns: ConversationTurns | None = None, *, limits: CodeLimits = LIMITS, **more: Any) -> CodeWork:
    asked: dict[str, Any] = {"conversation_id": None, "files": (), "timeout_seconds": 10.0, **more}
    request = CodeRequest(run_id=uuid7(), owner="ana", code="x", language="python", **asked)
    return CodeWork(request, CodeTools(boxes, Kept(), turns or ConversationTurns(), limits), nothing)


async def perform(boxes: Boxes, **more: Any) -> tuple[Performed, CodeAccount, list[CodeEvent]]:
    told, made = Told(), work(boxes, **more)
    ended = await made.perform(told, PlainSteps(), lambda: None)
    return ended, made.account, told.events


async def test_a_run_opens_a_sandbox_runs_the_code_and_ends_the_sandbox() -> None:
    boxes = Boxes(Box("hola"))
    ended, account, events = await perform(boxes)
    assert ended.status == "completed" and account.text("stdout") == "hola" and boxes.discarded == ["box"]
    assert events == [CodeStarted("box", None), Text("stdout", "hola")]
    assert [step.name for step in account.steps] == ["open_sandbox", "run_code"]


async def test_a_conversations_sandbox_is_kept_for_as_long_as_it_may_be_idle() -> None:
    boxes, conversation = Boxes(Box(), fresh=False), uuid7()
    await perform(boxes, conversation_id=conversation)
    assert boxes.discarded == [] and boxes.wanted[0].lifetime_seconds == 70


async def test_a_new_sandbox_in_a_conversation_that_had_one_is_told() -> None:
    _, account, _ = await perform(Boxes(Box()), conversation_id=uuid7(), earlier_runs=True)
    assert account.notice
    _, account, _ = await perform(Boxes(Box()), conversation_id=uuid7(), earlier_runs=False)
    assert account.notice is None


async def test_an_error_of_the_code_completes_the_run_and_is_noted_at_its_step() -> None:
    error = CodeError("NameError", "x", "…")
    ended, account, events = await perform(Boxes(Box(error=error)))
    assert ended.status == "completed" and account.error == error and Raised(error) in events
    assert account.steps[-1].error_code == "code_error" and account.steps[-1].status == "completed"


async def test_a_sandbox_that_ends_under_the_code_fails_the_run_and_is_forgotten() -> None:
    boxes, conversation = Boxes(Box("a", sandbox_lost())), uuid7()
    ended, account, _ = await perform(boxes, conversation_id=conversation)
    assert ended.error is not None and ended.error.code == "sandbox_lost" and boxes.forgotten == [conversation]
    assert account.text("stdout") == "a" and account.steps[-1].status == "failed"


async def test_only_files_that_the_code_made_or_changed_are_kept() -> None:
    box = Box(files={"out.csv": b"1"})
    given = (GivenFile("in.csv", b"0"),)
    _, account, events = await perform(Boxes(box), files=given)
    assert [file.name for file in account.files] == ["out.csv"]
    assert [event.file.name for event in events if isinstance(event, FileKept)] == ["out.csv"]


async def test_files_beyond_the_limits_are_named_not_kept() -> None:
    box = Box(files={"a": b"1", "b": b"2", "c": b"3"})
    _, account, _ = await perform(Boxes(box))
    assert [file.name for file in account.files] == ["a", "b"]
    assert [left.name for left in account.files_left_out] == ["c"]
    _, account, _ = await perform(Boxes(Box(files={"big": b"x" * 101})))
    assert account.files == [] and account.files_left_out[0].size_bytes == 101


async def test_a_file_that_cannot_be_read_leaves_the_run_its_output() -> None:
    box = Box("hola", files={"a": b"1", "b": b"2"})
    box.unreadable["a"] = file_refused("permission denied")
    ended, account, _ = await perform(Boxes(box))
    assert ended.status == "completed" and account.text("stdout") == "hola"
    assert [file.name for file in account.files] == ["b"]
    assert [(left.name, left.size_bytes) for left in account.files_left_out] == [("a", 1)]
    assert account.steps[-1].status == "completed"


async def test_files_that_take_too_long_leave_the_run_its_output() -> None:
    box = Box("hola", files={"a": b"1", "b": b"2"})
    limits = replace(LIMITS, sandbox_wait_seconds=0.01)
    made = work(Boxes(box), limits=limits)
    read = box.read

    async def slow(path: str) -> AsyncIterator[bytes]:
        if path == "b":
            await asyncio.Event().wait()
        async for chunk in read(path):
            yield chunk

    box.read = slow  # type: ignore[method-assign]
    ended = await made.perform(Told(), PlainSteps(), lambda: None)
    assert ended.status == "completed" and made.account.text("stdout") == "hola"
    assert [file.name for file in made.account.files] == ["a"]
    assert [left.name for left in made.account.files_left_out] == ["b"]
    assert made.account.steps[-1].error_code == "step_timeout"


@pytest.mark.parametrize("events", [("hola",), ()], ids=["after the code", "before it"])
async def test_a_home_that_cannot_be_listed_does_not_fail_the_run(events: tuple[str, ...]) -> None:
    box = Box(*events, files={"a": b"1"})
    box.unlistable = sandbox_failed("an odd name")
    ended, account, _ = await perform(Boxes(box))
    assert ended.status == "completed" and account.text("stdout") == "".join(events)
    assert [left.name for left in account.files_left_out] == ["."]


async def test_a_sandbox_that_ends_while_its_files_are_read_fails_the_run() -> None:
    box = Box("hola", files={"a": b"1"})
    box.unreadable["a"] = sandbox_lost()
    ended, account, _ = await perform(Boxes(box))
    assert ended.error is not None and ended.error.code == "sandbox_lost" and account.files_left_out == []


async def test_a_conversations_sandbox_is_idle_again_however_its_run_ends() -> None:
    for box in (Box("a"), Box(sandbox_lost()), Box(ValueError())):
        boxes, conversation = Boxes(box), uuid7()
        with contextlib.suppress(ValueError):
            await perform(boxes, conversation_id=conversation)
        assert boxes.released == [conversation]


class ElsewhereSteps:
    """Steps that begin in a context of their own, as those of a flow run do."""

    async def run(self, name: str, effect: Any, *, timeout_seconds: float) -> Any:
        return await asyncio.create_task(effect(), context=contextvars.Context())


async def test_a_step_that_a_flow_run_takes_still_knows_which_run_it_is() -> None:
    known = RequestContext(uuid7(), TraceContext.new(), LOCAL)
    seen: list[RequestContext] = []

    class Asking(Boxes):
        async def open(self, wanted: Wanted) -> Opened:
            seen.append(current())
            return await super().open(wanted)

    async def in_request() -> None:
        enter(known)
        await work(Asking(Box())).perform(Told(), ElsewhereSteps(), lambda: None)

    await asyncio.create_task(in_request())
    assert seen == [known]


async def test_output_beyond_its_limit_is_cut_and_said_to_be() -> None:
    _, account, _ = await perform(Boxes(Box("12345", "67890", "ñ")))
    assert account.text("stdout") == "1234567890" and account.output_cut


async def test_a_figure_becomes_a_file_and_so_does_a_long_text() -> None:
    raw = RawResult(True, {"text": "short", "html": "x" * 21, "chart": {"type": "pie"}}, {"png": b"png"})
    _, account, _ = await perform(Boxes(Box(raw)))
    (result,) = account.results
    assert result.forms == {"text": "short", "chart": {"type": "pie"}}
    assert sorted(kept.form for kept in result.files) == ["html", "png"]


async def test_one_run_at_a_time_in_a_conversation_and_the_rest_waits_its_turn() -> None:
    go, turns, conversation = asyncio.Event(), ConversationTurns(), uuid7()
    first = asyncio.create_task(
        work(Boxes(Box(go)), turns, conversation_id=conversation).perform(Told(), PlainSteps(), lambda: None)
    )
    await asyncio.sleep(0)
    boxes = Boxes(Box())
    second = asyncio.create_task(
        work(boxes, turns, conversation_id=conversation).perform(Told(), PlainSteps(), lambda: None)
    )
    await asyncio.sleep(0.01)
    assert boxes.wanted == []
    ended, _, _ = await perform_in(turns, conversation)
    assert isinstance(ended.error, TooManyRequests) and ended.error.code == "too_many_waiting"
    go.set()
    assert (await first).status == (await second).status == "completed"
    assert len(boxes.wanted) == 1


async def perform_in(turns: ConversationTurns, conversation: uuid.UUID) -> tuple[Performed, CodeAccount, list[Any]]:
    made = work(Boxes(Box()), turns, conversation_id=conversation)
    return await made.perform(Told(), PlainSteps(), lambda: None), made.account, []


async def test_a_turn_that_does_not_come_in_time_is_told_as_busy() -> None:
    turns, conversation = ConversationTurns(), uuid7()
    async with turns.turn(conversation, LIMITS):
        with pytest.raises(Unavailable) as error:
            async with turns.turn(conversation, replace(LIMITS, conversation_wait_seconds=0.01)):
                pass
    assert error.value.code == "conversation_busy"
    async with turns.turn(conversation, LIMITS):
        pass


async def test_cancelling_a_run_ends_its_sandbox_and_frees_its_conversation() -> None:
    turns, conversation = ConversationTurns(), uuid7()
    running = asyncio.create_task(
        work(Boxes(Box(asyncio.Event())), turns, conversation_id=conversation).perform(
            Told(), PlainSteps(), lambda: None
        )
    )
    boxes = Boxes(Box(asyncio.Event()))
    alone = asyncio.create_task(work(boxes).perform(Told(), PlainSteps(), lambda: None))
    await asyncio.sleep(0.01)
    for task in (running, alone):
        task.cancel()
    await asyncio.gather(running, alone, return_exceptions=True)
    assert boxes.discarded == ["box"]
    ended, _, _ = await perform_in(turns, conversation)
    assert ended.status == "completed"


def test_a_changed_file_is_told_by_its_size_or_its_time() -> None:
    before = {"a": Entry("a", 1, THEN), "b": Entry("b", 1, THEN), "c": Entry("c", 1, THEN)}
    after = before | {"b": Entry("b", 2, THEN), "c": Entry("c", 1, datetime.now(UTC)), "d": Entry("d", 0, THEN)}
    assert [entry.path for entry in changed(before, after)] == ["b", "c", "d"]


def test_what_cannot_be_json_is_told_as_text() -> None:
    inline, _ = sorted_forms(RawResult(False, {"json": {"when": THEN}}), 1000)
    assert inline == {"json": {"when": str(THEN)}}


def test_numbers_that_json_does_not_have_become_null() -> None:
    inline, _ = sorted_forms(RawResult(False, {"chart": {"points": [1, float("nan"), float("-inf")]}}), 1000)
    assert inline == {"chart": {"points": [1, None, None]}}


def test_half_a_surrogate_pair_deep_in_a_form_can_be_sent_on() -> None:
    inline, _ = sorted_forms(RawResult(False, {"json": {"a": ["\ud800"]}, "text": "\ud800"}), 1000)
    assert inline == {"json": {"a": ["?"]}, "text": "?"}
