"""Runs that are written before they begin, so that a request for one may be sent twice and is done once."""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import Text, TextClause, Uuid, bindparam, delete, func, select, text, update
from sqlalchemy.exc import IntegrityError

from db import kept
from db.engine import Database
from db.records import RunOrigin, RunStatus
from db.tables import OPEN_STATUSES, Callback, IdempotencyKey, Run
from db.turns import FROM_WHERE, run_id_used
from wire.errors import Conflict


@dataclass(frozen=True, slots=True)
class NewQueued:
    """parent_id, origin: as `db.records.NewRun`'s. callback_url: where its end is told."""

    id: uuid.UUID
    owner: str
    kind: str
    trace_id: str
    stack_id: str
    instance_id: uuid.UUID
    parent_id: uuid.UUID | None = None
    origin: RunOrigin = "api"
    n8n_execution_id: str | None = None
    n8n_workflow_id: str | None = None
    callback_url: str | None = None


@dataclass(frozen=True, slots=True)
class Promise:
    """What a client asked to be done once: its key, and the digest of what it asked."""

    key: str
    request_sha256: str
    lasts_seconds: float


_WITH_PRINCIPAL = """
WITH the_principal AS (
    INSERT INTO principals (name) VALUES (:owner) ON CONFLICT DO NOTHING
)"""
_RUN = """
    INSERT INTO runs (id, owner, kind, status, parent_id, origin, n8n_execution_id, n8n_workflow_id, trace_id, stack_id,
        instance_id)
    SELECT :id, :owner, :kind, 'queued', parent.id, {from_where}, :trace_id, :stack_id, :instance_id
    FROM (SELECT) AS one LEFT JOIN runs AS parent ON parent.id = :parent_id AND parent.owner = :owner
"""
_KEY = """, the_key AS (
    INSERT INTO idempotency_keys (owner, key, request_sha256, run_id, expires_at)
    VALUES (:owner, :key, :request_sha256, :id, :expires_at) ON CONFLICT DO NOTHING RETURNING key
)"""
_CALLBACK = """, the_callback AS (
    INSERT INTO callbacks (run_id, url) SELECT id, :callback_url FROM the_run WHERE :callback_url IS NOT NULL
)
SELECT id FROM the_run
"""


def _statement(*, once: bool) -> TextClause:
    """once: the run only if the key is new: both, or neither."""
    only = "WHERE EXISTS (SELECT FROM the_key)" if once else ""
    the_run = f", the_run AS ({_RUN} {only} RETURNING id)".replace("{from_where}", FROM_WHERE)
    binds = [bindparam(name, type_=Uuid()) for name in ("id", "instance_id", "parent_id")]
    return text(_WITH_PRINCIPAL + (_KEY if once else "") + the_run + _CALLBACK).bindparams(
        *binds, bindparam("callback_url", type_=Text())
    )


# Its run's row is held, so that it is not missed by the run's end at this moment (migration 0005).
_TELL_TOO = text("""
WITH the_run AS (
    SELECT id FROM runs WHERE id = :id AND owner = :owner FOR SHARE
), the_callback AS (
    INSERT INTO callbacks (run_id, url) SELECT id, :callback_url FROM the_run
    WHERE (SELECT count(*) FROM callbacks WHERE run_id = :id) < :most
    ON CONFLICT DO NOTHING RETURNING url
)
SELECT EXISTS (SELECT FROM the_callback) OR EXISTS (
    SELECT FROM callbacks WHERE run_id = :id AND url = :callback_url
) AS told
""").bindparams(bindparam("id", type_=Uuid()), bindparam("callback_url", type_=Text()))
MOST_CALLBACKS = 20

_QUEUE, _QUEUE_ONCE = _statement(once=False), _statement(once=True)


class QueuedRuns:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def queue(self, run: NewQueued, promise: Promise | None) -> uuid.UUID:
        """Writes a queued run. Returns its id; the earlier run's, when the promise was made before (`promised`).

        Raises Conflict for a run id that was used before, and as `promised` does.
        """
        values: dict[str, Any] = asdict(run)
        try:
            if promise is None:
                await self._database.rows(_QUEUE, values)
                return run.id
            await self._database.rows(delete(IdempotencyKey).where(IdempotencyKey.expires_at < func.now()))
            values |= {
                "key": promise.key,
                "request_sha256": promise.request_sha256,
                "expires_at": datetime.now(UTC) + timedelta(seconds=promise.lasts_seconds),
            }
            if await self._database.rows(_QUEUE_ONCE, values):
                return run.id
        except IntegrityError:
            raise run_id_used(run.id) from None
        earlier = await self.promised(run.owner, promise, run.callback_url)
        if earlier is None:  # it has expired this very moment
            raise _used_otherwise()
        return earlier

    async def tell_too(self, run_id: uuid.UUID, owner: str, callback_url: str) -> None:
        """The end of an earlier run is told there as well: at once, where it has ended; once, however often asked for.

        Raises Conflict when it is told at as many addresses as can be.
        """
        asked = {"id": run_id, "owner": owner, "callback_url": callback_url, "most": MOST_CALLBACKS}
        if not (await self._database.rows(_TELL_TOO, asked))[0].told:
            raise Conflict(
                f"Run {run_id} is told at {MOST_CALLBACKS} addresses already: ask for it by its id instead.",
                code="too_many_callbacks",
                param="callback_url",
            )

    async def promised(self, owner: str, promise: Promise, callback_url: str | None = None) -> uuid.UUID | None:
        """The run that was promised by this key, whose end is then told at the callback too; None when none was.

        Raises Conflict for another request's key, and as `tell_too` does.
        """
        known = await self._database.rows(
            select(IdempotencyKey.run_id, IdempotencyKey.request_sha256).where(
                IdempotencyKey.owner == owner,
                IdempotencyKey.key == promise.key,
                IdempotencyKey.expires_at > func.now(),
            )
        )
        if not known:
            return None
        if known[0].request_sha256 != promise.request_sha256:
            raise _used_otherwise()
        run_id: uuid.UUID | None = known[0].run_id
        if run_id is not None and callback_url is not None:
            await self.tell_too(run_id, owner, callback_url)
        return run_id

    async def give_up(self, run_id: uuid.UUID, code: str, detail: str) -> None:
        """A run that cannot begin has failed, and may be asked for again with the same key. Who asked is told at once,
        and is not called back.
        """
        await self._database.rows(delete(Callback).where(Callback.run_id == run_id))
        await self.close(run_id, "failed", code=code, detail=detail)
        await self._database.rows(delete(IdempotencyKey).where(IdempotencyKey.run_id == run_id))

    async def close(
        self, run_id: uuid.UUID, status: RunStatus, *, code: str | None = None, detail: str | None = None
    ) -> bool:
        """Ends a run that is still open. Returns whether it was."""
        rows = await self._database.rows(
            update(Run)
            .where(Run.id == run_id, Run.status.in_(OPEN_STATUSES))
            .values(status=status, error_code=code, error_detail=kept.detail(detail), ended_at=func.now())
            .returning(Run.id)
        )
        return bool(rows)


def _used_otherwise() -> Conflict:
    return Conflict(
        "This Idempotency-Key was used for another request.", code="idempotency_key_used", param="idempotency-key"
    )
