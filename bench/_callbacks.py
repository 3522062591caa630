"""Events of ended runs while their receiver is down for a while: what is lost, out of order, or told twice.

For `bench workflows`: asked of a chat API that runs, whose database is written past it: runs that begin and end as fast
as one writer gets, in turn one that a hook is told of and one with a callback. The receiver is down at first, answers
every so many-th event with an error, and is down once more in the middle.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import uuid
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import httpx
from sqlalchemy import URL

from bench._callback_figures import Came, Ended, judged
from db.engine import Database
from db.queued import NewQueued, QueuedRuns
from db.records import FinishedRun, NewRun
from db.turns import Turns
from wire.ids import uuid7
from wire.webhooks import WebhookRefused, verify

# Kinds that there are: of runs that the hook hears of, and of those that are called back.
KIND, CALLED = "warm-up", "retention"
HOOK, CALLBACK = "/hook", "/callback"
DOWN_SECONDS = 3.0
ERROR_EVERY = 29
END_SECONDS = 300.0
LOOK_SECONDS = 0.05


@dataclass
class Receiver:
    """secrets: by path."""

    port: int
    secrets: dict[str, str] = field(default_factory=dict)
    came: list[Came] = field(default_factory=list)
    _server: asyncio.Server | None = None

    async def up(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, reuse_address=True)

    async def down(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            path = first.split(" ")[1]
            headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
            body = await reader.readexactly(int(headers["content-length"]))
            self.came.append(
                Came(
                    path,
                    headers["webhook-id"],
                    json.loads(body)["data"]["run"]["id"],
                    self._verified(path, headers, body),
                    time.monotonic(),
                )
            )
            status = "500 No" if len(self.came) % ERROR_EVERY == 0 else "204 Yes"
            writer.write(f"HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
            await writer.drain()
        writer.close()

    def _verified(self, path: str, headers: dict[str, str], body: bytes) -> bool:
        try:
            verify(self.secrets[path], headers, body, time.time())
        except WebhookRefused:
            return False
        return True


async def callbacks(
    chat_url: str, database_url: URL, *, events: int, port: int, owner: str = "local", key: str | None = None
) -> dict[str, Any]:
    """owner: whose key that is. port: free, on this machine."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    receiver, database = Receiver(port), Database(database_url)
    async with httpx.AsyncClient(base_url=chat_url, headers=headers, timeout=30, trust_env=False) as chat:
        url = f"http://127.0.0.1:{port}"
        asked = {"url": url + HOOK, "events": ["run.completed"], "kinds": [KIND]}
        hook = (await chat.post("/api/hooks", json=asked)).raise_for_status().json()
        secret = (await chat.get("/api/hooks/secret")).raise_for_status().json()["secret"]
        receiver.secrets = {HOOK: hook["secret"], CALLBACK: secret}
        url += CALLBACK
        try:
            wanted = await _ended(database, owner, events // 2, url)
            await asyncio.sleep(DOWN_SECONDS)
            back = time.monotonic()
            await receiver.up()
            await _until(receiver, events // 4)
            await receiver.down()
            wanted += await _ended(database, owner, events - events // 2, url)
            await asyncio.sleep(DOWN_SECONDS)
            again = time.monotonic()
            await receiver.up()
            await _until(receiver, events)
            await receiver.down()
        finally:
            await chat.delete(f"/api/hooks/{hook['id']}")
            await database.close()
    told = judged(receiver.came, wanted)
    ended = max(one.at for one in receiver.came)
    first = len([one for one in receiver.came if one.at < again])
    seconds = ended - again
    return told | {
        "receiver_down_seconds": 2 * DOWN_SECONDS,
        "first_after_back_seconds": round(receiver.came[0].at - back, 2),
        "events_per_second": round((len(receiver.came) - first) / seconds, 1) if seconds > 0 else None,
    }


async def _until(receiver: Receiver, count: int) -> None:
    deadline = time.monotonic() + END_SECONDS
    while len({one.run_id for one in receiver.came}) < count:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{len(receiver.came)} deliveries within {END_SECONDS:.0f} s, not {count} events")
        await asyncio.sleep(LOOK_SECONDS)


async def _ended(database: Database, owner: str, count: int, callback_url: str) -> list[Ended]:
    turns, queued, now, ended = Turns(database), QueuedRuns(database), datetime.now(UTC), []
    one = NewRun(uuid7(), owner, KIND, None, False, "", uuid.uuid4().hex, "bench", uuid7(), None, ())
    for number in range(count):
        id_ = uuid7()
        if number % 2:
            run = NewQueued(id_, owner, CALLED, one.trace_id, "bench", uuid7(), callback_url=callback_url)
            await queued.queue(run, None)
            await queued.close(id_, "completed")
        else:
            await turns.begin(replace(one, id=id_))
            await turns.finish(
                FinishedRun(
                    id_, owner, None, "completed", uuid7(), "", True, None, None, None, None, None, None, None,
                    1.0, None, None, now, now, (),
                )
            )  # fmt: skip
        ended.append(Ended(CALLBACK if number % 2 else HOOK, str(id_)))
    return ended
