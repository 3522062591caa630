"""What Prefect's pages show of a run beside its states: a name, figures, tables, links, and why it failed.

Bounded in number and size. Prefect being away costs a run nothing but these.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from prefect.artifacts import (
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)
from prefect.client.orchestration import get_client
from prefect.runtime import flow_run

from db.records import FileRecord
from flows.code_told import file_url
from flows.plain_words import one_line, plain_line
from wire.errors import ApiError

log = logging.getLogger("flows.shown")

MOST_SECONDS = 10.0  # of telling Prefect one thing
PROGRESS_SECONDS = 2.0  # between two figures
MOST_ROWS = 100
MARKDOWN_CHARS = 60_000
NAME_CHARS = 100


async def told(what: str, tell: Callable[[], Awaitable[Any]]) -> Any:
    """What Prefect answers; None where it does not."""
    try:
        async with asyncio.timeout(MOST_SECONDS):
            return await tell()
    except Exception as error:
        log.info("Prefect could not be told", extra={"what": what, "reason": repr(error)})
        return None


async def name_run(name: str) -> None:
    """Names the flow run in hand."""
    of_prefect = flow_run.id
    if not of_prefect:
        return

    async def tell() -> None:
        async with get_client() as client:
            await client.update_flow_run(uuid.UUID(of_prefect), name=one_line(name, NAME_CHARS))

    await told("its name", tell)


async def tag_run(run_id: uuid.UUID) -> None:
    """A flow run that nobody asked the API for is found by its run, as the others are."""
    of_prefect, tags = flow_run.id, [*flow_run.tags, f"run:{run_id}", "origin:schedule"]
    if not of_prefect:
        return

    async def tell() -> None:
        async with get_client() as client:
            await client.update_flow_run(uuid.UUID(of_prefect), tags=list(dict.fromkeys(tags)))

    await told("its tags", tell)


async def show_markdown(key: str, text: str, description: str = "") -> None:
    """key: small letters, digits and hyphens."""
    text = text if len(text) <= MARKDOWN_CHARS else text[:MARKDOWN_CHARS] + "\n\n… (cut)"
    await told(key, lambda: acreate_markdown_artifact(text, key, description))


async def show_table(key: str, rows: Sequence[dict[str, Any]], description: str) -> None:
    """At most MOST_ROWS of them."""
    shown = [{name: _cell(value) for name, value in row.items()} for row in rows[:MOST_ROWS]]
    if shown:
        await told(key, lambda: acreate_table_artifact(shown, key, description))


async def show_failure(kind: str, run_id: uuid.UUID, error: ApiError, chat_url: str) -> None:
    """Why a run failed and what can be done, on its own page."""
    text = failure_told(kind, run_id, error, chat_url)
    await show_markdown(f"{kind}-failed", text, "Why it failed")


def failure_told(kind: str, run_id: uuid.UUID, error: ApiError, chat_url: str) -> str:
    return (
        f"# {kind} failed\n\n**{error.code}**: {plain_line(error.detail, 1000)}\n\n{advice(error)}\n\n"
        f"Its whole story: {chat_url}/api/runs/{run_id} (`./capibara6 run show {run_id}`).\n"
    )


def advice(error: ApiError) -> str:
    """What to do, by whose fault it is."""
    if error.status in {429, 503}:
        return "A part was full or away. When `./capibara6 status` shows everything ready, ask for it again."
    if error.status == 504:
        return "It took longer than its limit: docs/settings.md names the limits."
    if error.status in {413, 422, 400, 404, 409}:
        return "What was asked cannot be done as it stands: correct it and ask for it again."
    return "Look into `./capibara6 logs flow-worker`; asking for it again does no harm."


class Progress:
    """How far a run is: one figure, told every few seconds at most."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._artifact: uuid.UUID | None = None
        self._told_at = 0.0
        self._telling: asyncio.Task[None] | None = None

    async def begin(self, percent: float, words: str) -> None:
        self._artifact = await told("progress", lambda: acreate_progress_artifact(percent, self._key, words))
        self._told_at = time.monotonic()

    def tell(self, percent: float, words: str) -> None:
        """Returns at once."""
        if self._telling is None and time.monotonic() - self._told_at >= PROGRESS_SECONDS:
            self._telling = asyncio.create_task(self._tell(percent, words))

    async def end(self, percent: float, words: str) -> None:
        if self._telling is not None:
            await self._telling
        await self._tell(percent, words)

    async def _tell(self, percent: float, words: str) -> None:
        artifact = self._artifact
        if artifact is not None:
            await told("progress", lambda: aupdate_progress_artifact(artifact, percent, words))
        self._told_at, self._telling = time.monotonic(), None


def link(file: FileRecord, chat_url: str) -> str:
    """A file in Markdown."""
    return f"[{plain_line(file.name, 200)}]({chat_url}{file_url(file)})"


def _cell(value: Any) -> Any:
    return one_line(value) if isinstance(value, str) and not value.startswith(("http://", "https://", "[")) else value
