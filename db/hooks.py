"""Who is told of the end of an owner's runs (hooks), and where the end of one run is told (callbacks)."""

from __future__ import annotations

import uuid
from typing import Any

from sqlalchemy import ARRAY, Row, Text, Uuid, bindparam, delete, func, select, text

from db.engine import Database
from db.records import CallbackRecord, HookRecord, NewHook
from db.tables import Callback, Outgoing, Subscriber
from wire.errors import NotFound

_COLUMNS = (
    Subscriber.id, Subscriber.owner, Subscriber.url, Subscriber.events, Subscriber.kinds, Subscriber.description,
    Subscriber.failures, Subscriber.last_error, Subscriber.next_attempt_at, Subscriber.created_at,
)  # fmt: skip

# May run twice around a broken connection: the id is the hook's own.
_ADD = text("""
WITH the_principal AS (
    INSERT INTO principals (name) VALUES (:owner) ON CONFLICT DO NOTHING
)
INSERT INTO subscribers (id, owner, url, events, kinds, description)
SELECT :id, :owner, :url, :events, :kinds, :description
WHERE (SELECT count(*) FROM subscribers WHERE owner = :owner AND events IS NOT NULL AND id <> :id) < :most
ON CONFLICT (id) DO UPDATE SET url = excluded.url RETURNING id
""").bindparams(
    bindparam("id", type_=Uuid()), bindparam("events", type_=ARRAY(Text)), bindparam("kinds", type_=ARRAY(Text))
)


class Hooks:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, hook: NewHook, *, most: int) -> bool:
        """Returns whether it was taken: not when the owner has `most` already."""
        values = {
            "id": hook.id, "owner": hook.owner, "url": hook.url, "events": list(hook.events),
            "kinds": None if hook.kinds is None else list(hook.kinds), "description": hook.description, "most": most,
        }  # fmt: skip
        return bool(await self._database.rows(_ADD, values))

    async def of(self, owner: str) -> list[HookRecord]:
        """The owner's hooks, oldest first."""
        return [_hook(row) for row in await self._database.rows(_hooks(owner).order_by(Subscriber.id))]

    async def get(self, hook_id: uuid.UUID, owner: str) -> HookRecord:
        """Raises NotFound, also for somebody else's."""
        rows = await self._database.rows(_hooks(owner).where(Subscriber.id == hook_id))
        if not rows:
            raise _no_hook(hook_id)
        return _hook(rows[0])

    async def remove(self, hook_id: uuid.UUID, owner: str) -> None:
        """Removes it with what waits for it. Raises NotFound."""
        rows = await self._database.rows(
            delete(Subscriber)
            .where(Subscriber.id == hook_id, Subscriber.owner == owner, Subscriber.events.is_not(None))
            .returning(Subscriber.id)
        )
        if not rows:
            raise _no_hook(hook_id)

    async def callbacks(self, run_id: uuid.UUID) -> list[CallbackRecord]:
        """Where a run's end is told, and how that went, in the order in which it was asked for."""
        rows = await self._database.rows(
            select(Callback.url, Callback.state, Callback.attempts, Callback.last_error)
            .where(Callback.run_id == run_id)
            .order_by(Callback.created_at, Callback.url)
        )
        return [CallbackRecord(**row._asdict()) for row in rows]


def _hooks(owner: str) -> Any:
    waiting = (
        select(func.count())
        .select_from(Outgoing)
        .where(Outgoing.subscriber_id == Subscriber.id)
        .scalar_subquery()
        .label("pending")
    )
    return select(*_COLUMNS, waiting).where(Subscriber.owner == owner, Subscriber.events.is_not(None))


def _hook(row: Row[Any]) -> HookRecord:
    return HookRecord(**row._asdict())


def _no_hook(hook_id: uuid.UUID) -> NotFound:
    return NotFound(f"No hook {hook_id}.", code="hook_not_found", param="hook_id")
