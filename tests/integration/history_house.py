"""What the tests of conversations, runs and flows share: asking the chat API, and rows that are somebody else's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import httpx
from installation import Installation
from sqlalchemy import URL, make_url

from db.engine import Database
from db.records import FinishedRun, NewMessage, NewRun, StepRecord, ToolCallRecord
from db.turns import Turns
from wire.ids import uuid7

T = TypeVar("T")
NOW = datetime.now(UTC)
CALL = ToolCallRecord(
    "c1", "fetch_url", {"url": "http://a/```"}, "completed", "text ``` of it", None, 12.5, untrusted=True
)
REFUSED = replace(CALL, id="c2", status="failed", result=None, error={"code": "no", "detail": "not there"})


@cache
def _url(home: Path, ask: Callable[..., Any]) -> URL:
    return make_url(
        ask(
            "-c",
            "from stack.settings import get_settings as s; from stack.secrets import load_secrets as l;"
            "from db.urls import database_url as u; print(u(s(), l(s())).render_as_string(hide_password=False))",
        ).stdout.strip()
    )


def in_database(stack: Installation, work: Callable[[Database], Coroutine[Any, Any, T]]) -> T:
    """What is done in the stack's database, past its API."""

    async def done() -> T:
        database = Database(_url(stack.home, stack.run))
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(done())


def written_turn(stack: Installation, owner: str, question: str, answer: str, **known: Any) -> NewRun:
    """A turn that was taken (`turn_in`)."""
    return in_database(stack, lambda database: turn_in(database, owner, question, answer, **known))


async def turn_in(
    database: Database, owner: str, question: str, answer: str, *, calls: tuple[ToolCallRecord, ...] = (), **of_run: Any
) -> NewRun:
    """A turn that was taken, in a conversation of its own unless `of_run` says in which."""
    run = NewRun(
        uuid7(), owner, "chat", uuid7(), True, question, "0" * 32, "s", uuid7(), None,
        (NewMessage(uuid7(), "user", question),),
    )  # fmt: skip
    run = replace(run, **of_run)
    step = StepRecord(
        uuid7(), "model_call", "completed", NOW, NOW, kind="model_call", detail={"model": "phi4_fast", "tokens": 3}
    )
    turns = Turns(database)
    await turns.begin(run)
    await turns.finish(
        FinishedRun(
            run.id, run.owner, run.conversation_id, "completed", uuid7(), answer, True, "phi4_fast", "auto", 3, 4, 1.0,
            None, 5.0, 6.0, None, None, NOW, NOW, (step,), calls,
        )
    )  # fmt: skip
    return run


def ask(api: httpx.Client, **request: Any) -> dict[str, Any]:
    reply = api.post("/api/chat", json=request)
    assert reply.status_code == 200, reply.text
    return reply.json()


def told(api: httpx.Client, conversation_id: object) -> list[tuple[str, str]]:
    """Who said what."""
    kept = api.get(f"/api/conversations/{conversation_id}")
    assert kept.status_code == 200, kept.text
    return [(one["role"], one["content"]) for one in kept.json()["messages"]]


def message_ids(api: httpx.Client, conversation_id: object) -> list[str]:
    return [one["id"] for one in api.get(f"/api/conversations/{conversation_id}").json()["messages"]]


@contextmanager
def under_way(api: httpx.Client, path: str = "/api/chat/stream", **request: Any) -> Iterator[dict[str, Any]]:
    """A turn that takes long; its first event, with its ids."""
    asked = {"message": "hola tokens=2000 every=0.05"} | request
    with api.stream("POST", path, json=asked) as reply:
        assert reply.status_code == 200, reply.read()
        lines = reply.iter_lines()
        yield json.loads(next(lines)[6:])


def faulty(reply: httpx.Response, status: int, param: str | None = None, code: str | None = None) -> bool:
    """Whether it is that problem."""
    assert reply.status_code == status, reply.text
    problem = reply.json()
    assert problem["detail"] and problem["code"], problem
    assert param is None or problem["param"] == param, problem
    assert code is None or problem["code"] == code, problem
    return True
