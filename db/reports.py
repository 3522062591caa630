"""What is read for the digest of a day and the evaluation of routing. Everybody's rows, or one owner's."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import text

from db.engine import Database

MOST_ROWS = 20  # of failures and models

_SAID = text("""
SELECT messages.owner, count(DISTINCT conversation_id) AS conversations,
    count(*) FILTER (WHERE role = 'user') AS questions, count(*) FILTER (WHERE role = 'assistant') AS answers
FROM messages JOIN conversations ON conversations.id = conversation_id AND conversations.updated_at >= :since
WHERE messages.created_at >= :since AND messages.created_at < :until
    AND (CAST(:owner AS text) IS NULL OR messages.owner = :owner)
GROUP BY messages.owner ORDER BY count(*) DESC, messages.owner
""")
_DONE = text("""
SELECT kind, origin, status, count(*) AS runs, coalesce(sum(prompt_tokens), 0) AS prompt_tokens,
    coalesce(sum(completion_tokens), 0) AS completion_tokens
FROM runs WHERE created_at >= :since AND created_at < :until AND (CAST(:owner AS text) IS NULL OR runs.owner = :owner)
GROUP BY kind, origin, status ORDER BY kind, origin, status
""")
_FAILED = text("""
SELECT kind, coalesce(error_code, status) AS code, count(*) AS runs, min(error_detail) AS detail
FROM runs WHERE created_at >= :since AND created_at < :until AND status IN ('failed', 'crashed')
    AND (CAST(:owner AS text) IS NULL OR runs.owner = :owner)
GROUP BY kind, coalesce(error_code, status) ORDER BY count(*) DESC, kind LIMIT :most
""")
_MODELS = text("""
SELECT model, count(*) AS runs, coalesce(sum(completion_tokens), 0) AS completion_tokens,
    percentile_cont(0.5) WITHIN GROUP (ORDER BY first_token_ms) AS first_token_ms
FROM runs WHERE created_at >= :since AND created_at < :until AND model IS NOT NULL
    AND (CAST(:owner AS text) IS NULL OR runs.owner = :owner)
GROUP BY model ORDER BY count(*) DESC, model LIMIT :most
""")
_TITLES = text("""
SELECT owner, title FROM (
    SELECT owner, title, updated_at, row_number() OVER (PARTITION BY owner ORDER BY updated_at DESC) AS place
    FROM conversations WHERE updated_at >= :since AND updated_at < :until
        AND (CAST(:owner AS text) IS NULL OR conversations.owner = :owner)
) AS newest WHERE place <= :most ORDER BY owner, updated_at DESC
""")
# Of questions for whose model the router was asked. In the run's own conversation: forks hold copies.
_ROUTED = text("""
SELECT runs.id AS run_id, runs.model, runs.route, messages.content
FROM messages JOIN runs ON runs.id = messages.run_id AND runs.conversation_id = messages.conversation_id
WHERE messages.role = 'user' AND runs.kind = 'chat' AND runs.status = 'completed' AND runs.model IS NOT NULL
    AND coalesce(runs.requested_model, '') IN ('', 'auto') AND (CAST(:owner AS text) IS NULL OR messages.owner = :owner)
ORDER BY messages.position DESC LIMIT :most
""")


@dataclass(frozen=True, slots=True)
class SaidBy:
    owner: str
    conversations: int
    questions: int
    answers: int


@dataclass(frozen=True, slots=True)
class RunsOf:
    kind: str
    origin: str
    status: str
    runs: int
    prompt_tokens: int
    completion_tokens: int


@dataclass(frozen=True, slots=True)
class FailedRuns:
    """detail: of one of them."""

    kind: str
    code: str
    runs: int
    detail: str | None


@dataclass(frozen=True, slots=True)
class ModelUse:
    """first_token_ms: the median."""

    model: str
    runs: int
    completion_tokens: int
    first_token_ms: float | None


@dataclass(frozen=True, slots=True)
class Day:
    """titles: of the conversations in which something was said last, by owner, newest first."""

    said: Sequence[SaidBy] = ()
    runs: Sequence[RunsOf] = ()
    failures: Sequence[FailedRuns] = ()
    models: Sequence[ModelUse] = ()
    titles: Sequence[tuple[str, str]] = field(default=())


@dataclass(frozen=True, slots=True)
class Routed:
    """A question, and the model that answered it."""

    run_id: uuid.UUID
    model: str
    route: str | None
    content: str


class Reports:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def day(self, since: datetime, until: datetime, *, owner: str | None, titles: int) -> Day:
        """owner: None for everybody."""
        within: dict[str, Any] = {"since": since, "until": until, "owner": owner}
        most = within | {"most": MOST_ROWS}
        rows = self._database.rows
        return Day(
            [SaidBy(**row._asdict()) for row in await rows(_SAID, within)],
            [RunsOf(**row._asdict()) for row in await rows(_DONE, within)],
            [FailedRuns(**row._asdict()) for row in await rows(_FAILED, most)],
            [ModelUse(**row._asdict()) for row in await rows(_MODELS, most)],
            [(row.owner, row.title) for row in await rows(_TITLES, within | {"most": titles})],
        )

    async def routed(self, *, owner: str | None, most: int) -> list[Routed]:
        """The newest questions that were routed, and whose model answered. owner: None for everybody."""
        return [Routed(**row._asdict()) for row in await self._database.rows(_ROUTED, {"owner": owner, "most": most})]
