"""Full text search of one's own messages, in Spanish and English at once."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text

from db.engine import Database
from db.records import Role
from db.tables import SEARCHED_CHARS

# Of a word that is in very many messages only the newest are ranked: a rank needs the whole tsvector of each.
CANDIDATES = 2000
SNIPPET_CHARS = 500
MARK = "**"
# What Postgres marks with: signs that no text has a use for, so that a text's own asterisks are not taken for marks.
_START, _STOP = "\ue000", "\ue001"
_HEADLINE = f'StartSel={_START}, StopSel={_STOP}, MinWords=8, MaxWords=24, MaxFragments=2, FragmentDelimiter=" … "'

# A headline is made in the language whose words it marks; the other one is asked where it marked none.
_SEARCH = text("""
WITH asked AS (
    SELECT websearch_to_tsquery('spanish', :query) AS es, websearch_to_tsquery('english', :query) AS en
), found AS (
    SELECT messages.id, messages.search FROM messages, asked
    WHERE messages.owner = :owner AND messages.search @@ (asked.es || asked.en)
    ORDER BY messages.position DESC LIMIT :candidates
), ranked AS (
    SELECT found.id, ts_rank_cd(found.search, asked.es || asked.en, 33) AS rank FROM found, asked
    ORDER BY rank DESC, id DESC LIMIT :most
)
SELECT messages.conversation_id, conversations.title, messages.id AS message_id, messages.role, messages.created_at,
    ranked.rank,
    CASE WHEN strpos(spanish.headline, :start) > 0 THEN spanish.headline
        ELSE ts_headline('english', shown.words, asked.en, :options) END AS headline
FROM ranked
JOIN messages ON messages.id = ranked.id
JOIN conversations ON conversations.id = messages.conversation_id
CROSS JOIN asked
CROSS JOIN LATERAL (SELECT left(messages.content, :chars) AS words OFFSET 0) AS shown
CROSS JOIN LATERAL (SELECT ts_headline('spanish', shown.words, asked.es, :options) AS headline OFFSET 0) AS spanish
ORDER BY ranked.rank DESC, ranked.id DESC
""")


@dataclass(frozen=True, slots=True)
class Found:
    """A message that has what was asked. snippet: where, at most SNIPPET_CHARS, marked with `**`. rank: 0 to 1."""

    conversation_id: uuid.UUID
    title: str
    message_id: uuid.UUID
    role: Role
    created_at: datetime
    snippet: str
    rank: float


async def search_messages(database: Database, owner: str, query: str, limit: int) -> list[Found]:
    """The owner's messages, best first. query: words, "a phrase", `or`, `-without`, as web searches know them."""
    constants = {"candidates": CANDIDATES, "start": _START, "options": _HEADLINE, "chars": SEARCHED_CHARS}
    rows = await database.rows(_SEARCH, {"owner": owner, "query": query, "most": limit, **constants})
    return [
        Found(
            row.conversation_id,
            row.title,
            row.message_id,
            row.role,
            row.created_at,
            marked(row.headline),
            round(row.rank, 6),
        )
        for row in rows
    ]


def marked(headline: str) -> str:
    """Postgres's headline with our marks, cut where it is too long; a mark that was opened is closed."""
    shown = " ".join(headline.split())
    if len(shown) > SNIPPET_CHARS:
        shown = shown[:SNIPPET_CHARS].rstrip() + "…"
    if shown.count(_START) > shown.count(_STOP):
        shown += _STOP
    return shown.replace(_START, MARK).replace(_STOP, MARK)
