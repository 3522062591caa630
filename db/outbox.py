"""Events on their way to those who are told of ended runs: who tells whom, what is next, how it went.

They are written by the database itself, in the transaction that ends a run (migration 0003). A subscriber is told by
one process at a time, which leases it; a lease that is not renewed ends by itself. Each statement here is one
transaction, and may be run twice.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Interval, TextClause, Uuid, bindparam, text
from sqlalchemy.types import TypeEngine

from db import kept
from db.engine import Database
from db.records import OutgoingEvent

_MINE = "WHERE id = :id AND leased_by = :me"
_UUIDS = ("id", "me", "run_id")
_INTERVALS = ("lease", "wait", "age")


def _statement(sql: str) -> TextClause:
    sql = sql.replace("{mine}", _MINE)
    types: dict[str, TypeEngine[Any]] = {name: Uuid() for name in _UUIDS} | {name: Interval() for name in _INTERVALS}
    return text(sql).bindparams(*(bindparam(name, type_=kind) for name, kind in types.items() if f":{name}" in sql))


@dataclass(frozen=True, slots=True)
class Leased:
    """A subscriber that this process may tell. is_hook: else where callbacks go. failures: since it last had one."""

    id: uuid.UUID
    owner: str
    url: str
    is_hook: bool
    failures: int


# Who has waited longest comes first, and those who answered last before those who did not: many that are down take no
# places from others. Whose row is written by an ended run this moment is left for the next look.
_LEASE = _statement("""
WITH due AS (
    SELECT id FROM subscribers
    WHERE next_attempt_at <= clock_timestamp() AND (leased_until IS NULL OR leased_until < clock_timestamp())
    ORDER BY failures > 0, next_attempt_at LIMIT :most FOR UPDATE SKIP LOCKED
)
UPDATE subscribers SET leased_by = :me, leased_until = clock_timestamp() + :lease
WHERE id IN (SELECT id FROM due)
RETURNING id, owner, url, events IS NOT NULL AS is_hook, failures
""")
_OUTLOOK = text("""
SELECT EXISTS (SELECT FROM subscribers) OR EXISTS (SELECT FROM callbacks WHERE state = 'pending') AS awaited,
    (SELECT CAST(extract(epoch FROM min(next_attempt_at) - clock_timestamp()) AS double precision) FROM subscribers
        WHERE next_attempt_at IS NOT NULL AND (leased_until IS NULL OR leased_until < clock_timestamp())) AS due_seconds
""")
# One row at least while the lease stands.
_NEXT = _statement("""
SELECT subscribers.newest, waiting.* FROM subscribers LEFT JOIN LATERAL (
    SELECT position, event_id, is_callback, event, run_id, owner, kind, status, origin, created_at
    FROM outbox WHERE subscriber_id = subscribers.id ORDER BY position LIMIT :most
) AS waiting ON true
WHERE subscribers.id = :id AND subscribers.leased_by = :me
ORDER BY waiting.position
""")
_SETTLED = _statement("""
WITH the_subscriber AS (
    UPDATE subscribers SET failures = CASE WHEN :had THEN 0 ELSE failures END,
        last_error = CASE WHEN :had THEN NULL ELSE last_error END, leased_until = clock_timestamp() + :lease
    {mine} RETURNING id
), the_event AS (
    DELETE FROM outbox WHERE position = :position AND subscriber_id = :id
), the_callback AS (
    UPDATE callbacks SET state = :state, attempts = attempts + :tries, last_error = :error
    WHERE run_id = :run_id AND url = :url AND :is_callback AND state = 'pending'
)
SELECT id FROM the_subscriber
""")
_FAILED = _statement("""
WITH the_subscriber AS (
    UPDATE subscribers SET failures = failures + 1, last_error = :error, next_attempt_at = clock_timestamp() + :wait,
        leased_by = NULL, leased_until = NULL
    {mine} RETURNING id
)
UPDATE callbacks SET attempts = attempts + 1, last_error = :error
WHERE run_id = :run_id AND url = :url AND :is_callback
""")
# Nothing waits for it beyond `seen`: unless something came meanwhile, which the row itself tells (`newest`).
_REST = _statement("""
WITH idle AS (
    DELETE FROM subscribers {mine} AND events IS NULL AND newest <= :seen RETURNING id
)
UPDATE subscribers SET leased_by = NULL, leased_until = NULL,
    next_attempt_at = CASE WHEN newest > :seen THEN clock_timestamp() END
{mine} AND id NOT IN (SELECT id FROM idle)
RETURNING next_attempt_at IS NOT NULL AS waits
""")
_GIVE_BACK = _statement("""
UPDATE subscribers SET leased_by = NULL, leased_until = NULL, next_attempt_at = clock_timestamp() {mine}
""")
_GONE = _statement("DELETE FROM subscribers {mine} AND events IS NOT NULL")
_EXPIRE = _statement("""
WITH old AS (
    DELETE FROM outbox WHERE created_at < clock_timestamp() - :age OR position IN (
        SELECT position FROM (
            SELECT position, row_number() OVER (PARTITION BY subscriber_id ORDER BY position DESC) AS place FROM outbox
        ) AS placed WHERE place > :most
    )
    RETURNING run_id, subscriber_id, is_callback
), unheard AS (
    UPDATE callbacks SET state = 'failed', last_error = coalesce(callbacks.last_error, 'It waited too long.')
    FROM old JOIN subscribers ON subscribers.id = old.subscriber_id
    WHERE callbacks.state = 'pending' AND old.is_callback
        AND callbacks.run_id = old.run_id AND callbacks.url = subscribers.url
)
SELECT count(*) AS lost FROM old
""")


class Outbox:
    """me: this process."""

    def __init__(self, database: Database, me: uuid.UUID) -> None:
        self._database = database
        self._me = me

    async def lease(self, most: int, seconds: float) -> list[Leased]:
        """Subscribers for whom something waits, who are nobody else's, for so long."""
        rows = await self._database.rows(_LEASE, {"most": most, "me": self._me, "lease": timedelta(seconds=seconds)})
        return [Leased(**row._asdict()) for row in rows]

    async def outlook(self) -> tuple[bool, float | None]:
        """Whether anybody may want to be told of anything; and in how many seconds somebody is to be told next, of
        those who are nobody's.
        """
        row = (await self._database.rows(_OUTLOOK))[0]
        return bool(row.awaited), row.due_seconds

    async def waiting(self, leased: Leased, most: int) -> tuple[list[OutgoingEvent], int] | None:
        """What waits for it, in order, and the position up to which there is nothing else. None when the lease is
        over.
        """
        rows = await self._database.rows(_NEXT, {"id": leased.id, "me": self._me, "most": most})
        if not rows:
            return None
        return [_event(row) for row in rows if row.position is not None], rows[0].newest

    async def had(self, leased: Leased, event: OutgoingEvent, lease_seconds: float) -> bool:
        """It has the event. Returns whether the lease still stands; it is renewed."""
        return await self._settled(leased, event, lease_seconds, had=True, error=None)

    async def given_up(self, leased: Leased, event: OutgoingEvent, error: str, lease_seconds: float) -> bool:
        """The event will not be told any more. Returns as `had` does."""
        return await self._settled(leased, event, lease_seconds, had=False, error=error)

    async def _settled(
        self, leased: Leased, event: OutgoingEvent, lease_seconds: float, *, had: bool, error: str | None
    ) -> bool:
        values = {
            "id": leased.id, "me": self._me, "position": event.position, "run_id": event.run_id, "had": had,
            "url": leased.url,
            "state": "delivered" if had else "failed", "tries": 1, "error": kept.detail(error),
            "is_callback": event.is_callback, "lease": timedelta(seconds=lease_seconds),
        }  # fmt: skip
        return bool(await self._database.rows(_SETTLED, values))

    async def failed(self, leased: Leased, event: OutgoingEvent, error: str, wait_seconds: float) -> None:
        """It could not be told; it is tried again after so long, and until then nothing else is told there."""
        values = {
            "id": leased.id, "me": self._me, "run_id": event.run_id, "url": leased.url,
            "is_callback": event.is_callback, "error": kept.detail(error), "wait": timedelta(seconds=wait_seconds),
        }  # fmt: skip
        await self._database.rows(_FAILED, values)

    async def rest(self, leased: Leased, seen: int) -> bool:
        """Nothing waits for it up to position `seen`. Returns whether something came after that."""
        rows = await self._database.rows(_REST, {"id": leased.id, "me": self._me, "seen": seen})
        return bool(rows) and bool(rows[0].waits)

    async def give_back(self, leased: Leased) -> None:
        """More waits for it; somebody may go on at once."""
        await self._database.rows(_GIVE_BACK, {"id": leased.id, "me": self._me})

    async def gone(self, leased: Leased) -> None:
        """A hook whose address says that it has gone: removed, with what waits for it."""
        await self._database.rows(_GONE, {"id": leased.id, "me": self._me})

    async def expire(self, age: timedelta, most: int) -> int:
        """Removes what has waited longer than that, and of each subscriber's events all but the newest so many."""
        return int((await self._database.rows(_EXPIRE, {"age": age, "most": most}))[0].lost)


def _event(row: Any) -> OutgoingEvent:
    columns: Sequence[str] = (
        "position", "event_id", "is_callback", "event", "run_id", "owner", "kind", "status", "origin", "created_at",
    )  # fmt: skip
    return OutgoingEvent(**{name: getattr(row, name) for name in columns})


def waited_seconds(event: OutgoingEvent, now: datetime) -> float:
    return (now - event.created_at).total_seconds()
