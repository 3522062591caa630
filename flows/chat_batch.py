"""The Prefect flow `chat-batch`: questions of a file, each asked of a model by itself, some at a time.

It runs in a process that the flow worker starts for it. What it was asked stands in a file of its run
(`chat-batch.json`), what came of each item in `batch_items` as it comes. A process that takes over from one that was
killed asks what is left; what was answered is not asked again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from db.batch_items import BatchItems, ItemCounts, ItemRecord, NewItem
from db.batches import Begun
from db.records import FileRecord
from db.runs import CHAT_BATCH
from flows.batch_runs import BatchRun, RunClosed, account_since, carried_out, perform
from flows.chat_asked import ASKED, Asked, read_asked
from flows.errors import all_items_failed, asked_is_gone
from flows.file_store import NewFile
from flows.item_asking import AskingLimits, ask_item
from flows.item_files import csv_head, csv_line, json_line
from flows.plain_words import one_line
from flows.shown import MOST_ROWS, Progress, link, name_run, show_failure, show_markdown, show_table
from flows.work import Account
from stack.secrets import Secrets
from stack.settings import Settings
from stack.topology import keys_needed, load_topology
from wire.clients.models import ModelServerClient
from wire.context import RequestContext
from wire.ids import uuid7

log = logging.getLogger("flows.chat_batch")

PAGE = 200  # items read or written at once
MOST_PARTS = 20  # tasks of one flow run
LEAST_PART = 10  # items of one
RESULTS = "results"


@dataclass(slots=True)
class ItemsAccount(Account):
    counts: ItemCounts = field(default_factory=lambda: ItemCounts(0, 0, 0))

    @property
    def mark(self) -> str | None:
        return "CompletedWithFailures" if self.counts.failed else None


@dataclass(frozen=True, slots=True)
class InHand:
    """The batch that a process is at."""

    begun: Begun
    asked: Asked
    context: RequestContext
    account: ItemsAccount
    progress: Progress

    def ended(self, item: ItemRecord) -> None:
        counts, failed = self.account.counts, item.status == "failed"
        counts = ItemCounts(counts.completed + (not failed), counts.failed + failed, counts.of)
        self.account.counts = counts
        self.progress.tell(percent_of(counts), words_of(counts))


class ChatBatch(BatchRun):
    """One batch of questions at work. claim: this process's, by which its items are known for its own."""

    def __init__(self, settings: Settings, secrets: Secrets) -> None:
        super().__init__(settings, secrets)
        topology = load_topology(settings)
        key = secrets.services_key.get_secret_value() if keys_needed(settings, "model-server") else None
        seconds = settings.chat_batch_item_seconds
        self.models = ModelServerClient(topology.url("model-server"), key=key, read_seconds=seconds)
        self.chat_url = topology.url("chat-api")
        self.items = BatchItems(self.database)
        self.at_once = settings.chat_batch_items_at_once
        self.claim = uuid7()
        self.limits = AskingLimits(
            item_seconds=seconds,
            retries=settings.chat_batch_item_retries,
            wait_seconds=settings.chat_batch_wait_seconds,
            answer_chars=settings.chat_batch_answer_chars,
        )

    async def asked(self, begun: Begun) -> Asked:
        data = await self.persistently(lambda: self.file_named(begun, ASKED))
        if data is None:
            raise asked_is_gone()
        return read_asked(data)

    async def to_do(self, begun: Begun, asked: Asked) -> list[int]:
        """Writes the items down, and returns the numbers of those that are not answered yet."""
        rows = new_items(asked)
        for start in range(0, len(rows), PAGE):
            part = rows[start : start + PAGE]
            await self.persistently(lambda part=part: self.items.add(begun.id, part))  # type: ignore[misc]
        return await self.persistently(lambda: self.items.take_over(begun.id))

    async def ask(self, hand: InHand, number: int) -> ItemRecord:
        """One item from its claim to its row. Raises RunClosed when it is not this process's to do."""
        begun, asked = hand.begun, hand.asked
        if not await self.persistently(lambda: self.items.claim(begun.id, number, self.claim)):
            raise RunClosed("The run was closed, or another process goes on with it.")
        ended = await ask_item(self.models, asked, asked.questions[number], self.limits, hand.context)
        if not await self.persistently(lambda: self.items.end(begun.id, self.claim, ended)):
            raise RunClosed("Another process goes on with it.")
        return ended

    async def results(self, begun: Begun, asked: Asked) -> list[FileRecord]:
        """Keeps the outcomes as files of the run, once."""
        forms = [("jsonl", "application/jsonl")] + ([("csv", "text/csv")] if asked.form == "csv" else [])
        known = {file.name: file for file in await self.file_rows.of_run(begun.id, begun.owner)}
        kept = []
        for ending, media_type in forms:
            name = f"{RESULTS}.{ending}"
            if name not in known:
                new = NewFile(begun.owner, name, media_type, begun.id)
                most = self.settings.max_file_bytes
                known[name] = await self.files.save(new, self._lines(begun, ending), most_bytes=most)
            kept.append(known[name])
        return kept

    async def _lines(self, begun: Begun, ending: str) -> AsyncIterator[bytes]:
        if ending == "csv":
            yield csv_head()
        line, after = (csv_line if ending == "csv" else json_line), 0
        while page := await self.items.of(begun.id, after=after, limit=PAGE):
            yield b"".join(line(item) for item in page)
            after = page[-1].number

    async def close(self) -> None:
        await self.models.close()
        await super().close()


def new_items(asked: Asked) -> list[NewItem]:
    """Rows of the items as they begin: a wrong line has failed already."""
    queued = [NewItem(number, one.name) for number, one in asked.questions.items()]
    wrong = [NewItem(line.number, line.name, "failed", "wrong_line", line.reason) for line in asked.wrong]
    return sorted([*queued, *wrong], key=lambda item: item.number)


def parts_of(numbers: Sequence[int], at_once: int) -> list[list[int]]:
    """The items in parts, each a task of the flow run: so few that Prefect's page can be read."""
    size = max(LEAST_PART, at_once, -(-len(numbers) // MOST_PARTS))
    return [list(numbers[start : start + size]) for start in range(0, len(numbers), size)]


@flow(name=CHAT_BATCH, persist_result=False, validate_parameters=False, log_prints=False, retries=0)
async def chat_batch(run_id: str) -> State[None]:
    """Asks every item. It fails when none of them could be answered."""
    return await perform(CHAT_BATCH, ChatBatch, run_id, _run)


async def _run(batch: ChatBatch, begun: Begun, context: RequestContext) -> State[None]:
    account = account_since(ItemsAccount(), begun)
    if begun.resumed:
        account.steps += await batch.persistently(lambda: batch.runs.steps(begun.id))
    progress = Progress(f"chat-batch-{begun.id}")

    async def work() -> str:
        asked = await batch.asked(begun)
        await name_run(f"chat-batch {one_line(asked.title, 60)}, {len(asked.lines)} items")
        hand = InHand(begun, asked, context, account, progress)
        numbers = await batch.to_do(begun, asked)
        account.counts = await batch.items.counts(begun.id)
        await progress.begin(percent_of(account.counts), words_of(account.counts))
        for part in parts_of(numbers, batch.at_once):
            await _part(batch, hand, part)
        async with account.step("results"):
            account.counts = await batch.persistently(lambda: batch.items.counts(begun.id))
            files = await batch.persistently(lambda: batch.results(begun, asked))
        await progress.end(percent_of(account.counts), words_of(account.counts))
        await _show(batch, begun, asked, account.counts, files)
        if not account.counts.completed:
            first = (await batch.items.failures_first(begun.id, 1))[0]
            raise all_items_failed(account.counts.of, f"{first.error_code}: {first.error_detail}")
        return words_of(account.counts)

    state = await carried_out(batch, begun, account, work)
    if batch.failure is not None:
        await show_failure(CHAT_BATCH, begun.id, batch.failure, batch.chat_url)
    return state


async def _part(batch: ChatBatch, hand: InHand, numbers: list[int]) -> None:
    """Some items as a task of the flow run and a step of ours."""
    name = f"items {numbers[0]}-{numbers[-1]}" if len(numbers) > 1 else f"item {numbers[0]}"

    @task(name=name, persist_result=False, cache_policy=NO_CACHE, retries=0)
    async def run() -> tuple[int, int]:
        waiting, ended = iter(numbers), []

        async def worker() -> None:
            for number in waiting:
                ended.append(await batch.ask(hand, number))
                hand.ended(ended[-1])

        await together([worker() for _ in range(batch.at_once)])
        return sum(one.status == "completed" for one in ended), sum(one.status == "failed" for one in ended)

    account, begun = hand.account, hand.begun
    async with account.step(name) as note:
        completed, failed = await run()
        note.detail |= {"completed": completed, "failed": failed}
    step, position = account.steps[-1], len(account.steps)
    await batch.persistently(lambda: batch.rows.note_step(begun.id, begun.owner, step, position=position))


async def together(works: Sequence[Coroutine[Any, Any, None]]) -> None:
    """All of them; the first error ends the others, which are waited for, and is raised as it is."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        await asyncio.gather(*tasks)
    finally:
        for one in tasks:
            one.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def percent_of(counts: ItemCounts) -> float:
    return 100 * counts.ended / max(1, counts.of)


def words_of(counts: ItemCounts) -> str:
    failed = f", {counts.failed} of them failed" if counts.failed else ""
    return f"{counts.ended} of {counts.of} items{failed}"


async def _show(batch: ChatBatch, begun: Begun, asked: Asked, counts: ItemCounts, files: list[FileRecord]) -> None:
    """The batch on its page in Prefect: its failures first."""
    items = await batch.items.failures_first(begun.id, MOST_ROWS)
    rows = [
        {
            "line": item.number,
            "id": item.name or "",
            "status": item.status,
            "model": item.model or "",
            "ms": item.total_ms or "",
            "calls": item.attempts,
            "answer or reason": item.content or f"{item.error_code}: {item.error_detail}",
        }
        for item in items
    ]
    await show_table(f"chat-batch-items-{begun.id}", rows, f"The first {len(rows)} of {counts.of} items, failed first")
    linked = "\n".join(f"- {link(file, batch.chat_url)}, {file.size_bytes} bytes" for file in files)
    story = f"{batch.chat_url}/api/runs/{begun.id}"
    await show_markdown(
        f"chat-batch-summary-{begun.id}",
        f"# {one_line(asked.title, 80)}\n\n{words_of(counts)}.\n\n{linked}\n- [the run]({story})\n",
        "What came of it",
    )
