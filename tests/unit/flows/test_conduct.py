"""The conductor: a turn's rows, limits and ends, with everything around it faked."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from dataclasses import replace
from typing import Any

import pytest

from db.errors import DatabaseUnavailable
from db.records import FinishedRun, NewMessage, NewRun
from flows.chat import Assistance, ChatWork
from flows.conduct import QUEUED_EVENTS, ActiveRun, Conductor, Ended, RunLimits
from flows.link import FlowLink
from flows.turn import ChatMessage, Started, Token, TurnRequest
from tests.unit.flows.turn_fakes import LIMITS, Model, Prompts, Tools, at_once, token
from wire.context import RequestContext
from wire.errors import ApiError, Conflict, NotFound, TooManyRequests, Unavailable
from wire.ids import uuid7
from wire.principals import LOCAL
from wire.trace import TraceContext


class Rows:
    def __init__(self, *, begin: ApiError | None = None, finish: list[Exception] | None = None) -> None:
        self.begin_error, self.finish_errors = begin, finish or []
        self.begun: list[NewRun] = []
        self.finished: list[FinishedRun] = []

    async def begin(self, run: NewRun) -> None:
        if self.begin_error:
            raise self.begin_error
        self.begun.append(run)

    async def finish(self, run: FinishedRun) -> None:
        if self.finish_errors:
            raise self.finish_errors.pop(0)
        self.finished.append(run)


class Flows:
    def __init__(self) -> None:
        self.links: list[FlowLink] = []

    def attach(self, link: FlowLink) -> None:
        self.links.append(link)


def begin(
    model: Any, rows: Rows, *, turns: int = 4, seconds: float = 30, streaming: bool = True, delay: float = 60
) -> tuple[Conductor, ActiveRun[Any, Any], Flows]:
    flows = Flows()
    conductor = Conductor(rows, flows, RunLimits({"chat": turns}, delay, 5))
    return conductor, start(conductor, model, seconds=seconds, streaming=streaming), flows


def start(
    conductor: Conductor,
    model: Any,
    *,
    seconds: float = 30,
    streaming: bool = True,
    run_id: uuid.UUID | None = None,
    queued: bool = False,
    parent_id: uuid.UUID | None = None,
    owner: str = "ana",
    with_children: bool = False,
) -> ActiveRun[Any, Any]:
    run_id, conversation_id = run_id or uuid7(), uuid7()
    context = RequestContext(run_id, TraceContext.new(), LOCAL)
    request = TurnRequest(context, conversation_id, None, (ChatMessage("user", "hola"),), {}, seconds)
    assistance = Assistance(model, Tools(), Prompts(), LIMITS)
    messages = (NewMessage(uuid7(), "user", "hola"),)
    run = NewRun(run_id, owner, "chat", conversation_id, True, "hola", "0" * 32, "stack", uuid.uuid4(), None, messages)
    run = replace(run, queued=queued, parent_id=parent_id)
    return conductor.begin(
        ChatWork(request, assistance, at_once), run, streaming=streaming, with_children=with_children
    )


async def all_events(active: ActiveRun[Any, Any]) -> list[Any]:
    async with asyncio.timeout(5):
        return [event async for event in active.events(1) if event is not None]


async def test_a_turn_is_written_told_and_given_a_flow_run() -> None:
    rows = Rows()
    conductor, active, flows = begin(Model([token("a"), token("b")]), rows)
    events = await all_events(active)
    assert [type(event) for event in events] == [Started, Token, Token, Ended]
    assert rows.begun[0].id == rows.finished[0].id == active.run.id
    assert rows.finished[0].content == "ab" and rows.finished[0].complete and rows.finished[0].status == "completed"
    assert len(flows.links) == 1 and flows.links[0].ended.result(0).status == "completed"
    assert conductor.active("chat") == 0


async def test_the_flow_run_begins_at_the_first_token_not_before() -> None:
    _, active, flows = begin(Model([None, token("a")]), Rows())
    assert await active.opened(0.05) is None and not flows.links
    active.cancel("client_disconnected")
    await active.ended()
    assert len(flows.links) == 1  # a turn that ended without a token is recorded too


async def test_or_after_its_delay() -> None:
    _, active, flows = begin(Model([None]), Rows(), delay=0.01)
    async with asyncio.timeout(5):
        while not flows.links:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    active.cancel("client_disconnected")
    await active.ended()


async def test_no_flow_run_begins_while_another_turn_waits_for_its_first_token_unless_for_long() -> None:
    conductor, waiting, flows = begin(Model([None]), Rows(), delay=0.2)
    answering = start(conductor, Model([token("a"), None]))
    async for event in answering.events(1):
        if isinstance(event, Token):
            break
    assert not flows.links
    async with asyncio.timeout(5):
        while len(flows.links) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert waiting.attached and not waiting.is_awaited  # it holds nobody up any more
    for active in (waiting, answering):
        active.cancel("client_disconnected")
        await active.ended()


async def test_an_answer_that_cannot_be_kept_is_not_given() -> None:
    rows = Rows(begin=DatabaseUnavailable())
    _, active, _ = begin(Model([{"choices": []}, None]), rows)
    early = await active.opened(5)
    assert early is not None and isinstance(early.error, DatabaseUnavailable)
    assert (await active.ended()).status == "failed" and not rows.finished


async def test_a_queued_run_whose_beginning_cannot_be_written_does_not_stay_queued() -> None:
    rows = Rows(begin=Conflict("not waiting", code="run_not_waiting"))
    conductor = Conductor(rows, Flows(), RunLimits({"chat": 4}, 60, 5))
    ended = await start(conductor, Model([token("a"), None]), queued=True).ended()
    assert ended.status == "failed"
    (row,) = rows.finished
    assert (row.status, row.error_code, row.content, row.steps) == ("failed", "run_not_waiting", "", ())


async def test_an_end_that_cannot_be_written_is_told_and_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.conduct.FINISH_RETRY_SECONDS", 0.01)
    rows = Rows(finish=[DatabaseUnavailable(), DatabaseUnavailable()])
    _, active, _ = begin(Model([token("a")]), rows)
    ended = (await all_events(active))[-1]
    assert ended.error.code == "database_unavailable"
    async with asyncio.timeout(5):
        while not rows.finished:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert rows.finished[0].status == "completed" and rows.finished[0].content == "a"


async def test_an_early_model_error_is_still_an_http_status() -> None:
    error = NotFound("no such model", code="model_not_found", param="model")
    _, active, _ = begin(Model([error]), Rows())
    early = await active.opened(5)
    assert early is not None and early.error is error


async def test_a_turn_that_takes_too_long_fails_and_keeps_what_was_said() -> None:
    rows = Rows()
    _, active, _ = begin(Model([token("a"), None]), rows, seconds=0.05)
    ended = await active.ended()
    assert ended.status == "failed" and ended.error is not None and ended.error.code == "turn_timeout"
    assert rows.finished[0].content == "a" and not rows.finished[0].complete


async def test_too_many_turns_are_refused() -> None:
    conductor, active, _ = begin(Model([None]), Rows(), turns=1)
    with pytest.raises(TooManyRequests) as error:
        start(conductor, Model([None]))
    assert error.value.retry_after_seconds
    active.cancel("client_disconnected")
    await active.ended()


async def test_only_its_owner_cancels_a_turn() -> None:
    conductor, active, _ = begin(Model([None]), Rows())
    with pytest.raises(NotFound):
        conductor.cancel(active.run.id, "eva")
    conductor.cancel(active.run.id, "ana")
    ended = await active.ended()
    assert ended.status == "cancelled" and ended.error is not None and ended.error.code == "cancelled_by_client"


async def test_stopping_ends_every_turn_with_a_reason_and_admits_no_other() -> None:
    rows = Rows()
    conductor, active, _ = begin(Model([token("a"), None]), rows)
    assert await active.opened(5) is None
    await conductor.stop(5)
    events = await all_events(active)
    assert events[-1].error.code == "server_stopping" and rows.finished[0].status == "cancelled"
    with pytest.raises(Unavailable):
        start(conductor, Model([None]))


async def test_a_reader_that_is_away_does_not_hold_a_json_turn() -> None:
    """Not streaming: nobody drains the events, and more than the queue holds are made."""
    rows = Rows()
    _, active, _ = begin(Model([token("a")] * 1000), rows, streaming=False)
    async with asyncio.timeout(5):
        assert (await active.ended()).status == "completed"
    assert len(rows.finished[0].content) == 1000


async def test_a_reader_whose_queue_was_full_at_the_end_still_gets_the_end() -> None:
    _, active, _ = begin(Model([token("a")] * 1000), Rows())
    async with asyncio.timeout(5):
        while not active._events.full():  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        active.cancel("cancelled_by_client")
        await active.ended()
    events = await all_events(active)
    assert len(events) == QUEUED_EVENTS + 1 and events[-1].error.code == "cancelled_by_client"


async def test_a_run_id_that_is_under_way_is_refused_and_its_turn_goes_on() -> None:
    conductor, active, _ = begin(Model([token("a"), None], [token("b")]), Rows())
    with pytest.raises(Conflict) as error:
        start(conductor, Model([None]), run_id=active.run.id)
    assert error.value.code == "run_id_in_use" and conductor.active("chat") == 1
    assert conductor.cancel(active.run.id, "ana") is active
    await active.ended()
    assert conductor.active("chat") == 0


async def test_a_flow_run_is_not_told_that_an_unsaved_turn_went_well() -> None:
    _, active, flows = begin(Model([token("a")]), Rows(begin=DatabaseUnavailable()))
    ended = await active.ended()
    assert ended.status == "failed" and isinstance(ended.error, DatabaseUnavailable)
    outcome = flows.links[0].ended.result(0)
    assert outcome.status == "failed" and outcome.message.startswith("database_unavailable")


async def test_an_end_that_the_database_refuses_does_not_leave_the_run_open() -> None:
    rows = Rows(finish=[ValueError("unsupported Unicode escape sequence")])
    _, active, _ = begin(Model([token("a")]), rows)
    ended = await active.ended()
    assert ended.error is not None and ended.error.code == "not_saved"
    (closed,) = rows.finished
    assert closed.status == "failed" and closed.content == "" and closed.steps == ()


async def test_a_cancellation_that_a_library_lost_is_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.conduct.CANCEL_AGAIN_SECONDS", 0.01)

    class Deaf(Model):
        async def _chunks(self, script: list[Any]) -> Any:
            yield token("a")
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await asyncio.Event().wait()

    _, active, _ = begin(Deaf([]), Rows())
    assert await active.opened(5) is None
    active.cancel("cancelled_by_client")
    async with asyncio.timeout(5):
        assert (await active.ended()).status == "cancelled"


async def test_a_run_that_another_asked_for_comes_from_where_that_does() -> None:
    conductor, parent, flows = begin(Model([None]), Rows(), delay=0.0)
    known = replace(parent.run, origin="n8n", n8n_execution_id="42")
    parent.run = known
    for owner, told in (("ana", ("n8n", "42")), ("eva", ("api", None))):
        run = replace(known, id=uuid7(), owner=owner, parent_id=known.id, origin="api", n8n_execution_id=None)
        begun = conductor.begin(work_of(run), run, streaming=False)
        assert (begun.run.origin, begun.run.n8n_execution_id) == told
        begun.cancel("client_disconnected")
        await begun.ended()
    assert flows.links[-2].labels == ("origin:n8n", "n8n:42") and flows.links[-1].labels == ("origin:api",)
    parent.cancel("client_disconnected")
    await parent.ended()


def work_of(run: NewRun) -> ChatWork:
    context = RequestContext(run.id, TraceContext.new(), LOCAL)
    request = TurnRequest(context, uuid7(), None, (ChatMessage("user", "hola"),), {}, 30)
    return ChatWork(request, Assistance(Model([None]), Tools(), Prompts(), LIMITS), at_once)


async def test_what_a_cancelled_run_asked_for_is_cancelled_with_it_where_that_is_wished() -> None:
    conductor, other, _ = begin(Model([None]), Rows(), turns=9)
    parent = start(conductor, Model([None]), with_children=True)
    child = start(conductor, Model([None]), parent_id=parent.run.id)
    others = [
        other,
        start(conductor, Model([None]), parent_id=other.run.id),
        start(conductor, Model([None]), parent_id=child.run.id),
        start(conductor, Model([None]), parent_id=parent.run.id, owner="eva"),
    ]
    async with asyncio.timeout(5):
        parent.cancel("cancelled_by_client")
        for one, code in ((parent, "cancelled_by_client"), (child, "parent_cancelled")):
            ended = await one.ended()
            assert ended.status == "cancelled" and ended.error is not None and ended.error.code == code
        with pytest.raises(Conflict, match=str(parent.run.id)):
            start(conductor, Model([None]), parent_id=parent.run.id)
        for one in others:  # the first is the second one's parent
            assert conductor.active("chat") == len(others) - others.index(one)
            one.cancel("cancelled_by_client")
            await one.ended()


async def test_what_a_run_that_failed_asked_for_goes_on() -> None:
    conductor, _, _ = begin(Model([None]), Rows(), turns=9)
    parent = start(conductor, Model([None]), with_children=True)
    child = start(conductor, Model([None]), parent_id=parent.run.id)
    async with asyncio.timeout(5):
        parent.stop(Unavailable("away"), "failed")
        await parent.ended()
        await asyncio.sleep(0)
        assert not child.stopped_as[1]
        await conductor.stop(5)
