"""The Prefect flow `digest`: what was said and done in a day, as a Markdown file of its run and on Prefect's page."""

from __future__ import annotations

from datetime import UTC, date, datetime

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run

from db.batches import Begun
from db.records import FileRecord
from db.reports import Day, Reports
from db.runs import DIGEST
from flows.batch_runs import perform
from flows.chat_asked import Asked
from flows.digest_text import ASKED_CHARS, day_before, digest_told, is_quiet, span_of
from flows.errors import no_such_day
from flows.file_store import NewFile, one_chunk
from flows.item_asking import AskingLimits, ask_item
from flows.item_files import Question
from flows.maintenance import READ_SECONDS, Maintenance, covered, maintained, step
from flows.prompting import PromptFolder
from flows.shown import show_markdown
from flows.work import Account, StepNote
from stack.secrets import Secrets
from stack.settings import Settings
from wire.context import RequestContext
from wire.language import language_of

TASK = "digest"
WAIT_SECONDS = 60.0  # for a model server that is full or away: the figures do without it
SUMMARY_CHARS = 4000


class DigestRun(Maintenance):
    def __init__(self, settings: Settings, secrets: Secrets) -> None:
        super().__init__(settings, secrets)
        self.reports = Reports(self.database)
        self.prompts = PromptFolder(settings.prompts)

    async def summary(self, figures: str, found: Day, context: RequestContext) -> str:
        """A model's words about the day; where there are none, why."""
        most = self.settings.digest_tokens
        if not most or is_quiet(found):
            return "Nothing was asked of a model." if most else "No summary is asked for (CAPIBARA6_DIGEST_TOKENS)."
        task = self.prompts.task(TASK, language_of(" ".join(title for _, title in found.titles)))
        question = Question(1, None, ({"role": "user", "content": f"{task}\n\n{figures[:ASKED_CHARS]}\n\n{task}"},))
        limits = AskingLimits(READ_SECONDS, 1, WAIT_SECONDS, SUMMARY_CHARS)
        said = await ask_item(self.models, Asked(TASK, None, (), "auto", most, 0), question, limits, context)
        if said.status == "failed" or not (said.content or "").strip():
            return f"_No model summed it up: {said.error_code or 'it said nothing'}._"
        words = " ".join((said.content or "").split())
        return f"{words}\n\n_Written by {said.model}; the figures below are counted._"

    async def keep(self, begun: Begun, day: date, text: str) -> FileRecord:
        name, data = f"digest-{day.isoformat()}.md", text.encode()
        for file in await self.file_rows.of_run(begun.id, begun.owner):
            if file.name == name:  # of an attempt before
                await self.files.remove(file.id, begun.owner)
        new = NewFile(begun.owner, name, "text/markdown", begun.id)
        return await self.files.save(new, one_chunk(data), most_bytes=len(data))


@flow(name=DIGEST, persist_result=False, validate_parameters=False, log_prints=False, retries=0)
async def digest(run_id: str | None = None, day: str | None = None) -> State[None]:
    """day: as 2026-01-31; left out: the day before it was due, however late it is."""
    return await perform(DIGEST, DigestRun, run_id, lambda batch, begun, context: _run(batch, begun, context, day))


async def _run(batch: DigestRun, begun: Begun, context: RequestContext, asked_day: str | None) -> State[None]:
    zone = batch.settings.time_zone
    whose, yesterday = covered(begun), day_before(flow_run.scheduled_start_time or datetime.now(UTC), zone)

    async def work(account: Account) -> str:
        day = _day(asked_day, yesterday)
        since, until = span_of(day, zone)

        async def count(_: StepNote) -> Day:
            return await batch.reports.day(since, until, owner=whose, titles=batch.settings.digest_titles)

        async def sum_up(note: StepNote) -> str:
            said = await batch.summary(digest_told(day, zone, found, whose, ""), found, context)
            note.detail["chars"] = len(said)
            return said

        async def keep(note: StepNote) -> str:
            text = digest_told(day, zone, found, whose, summary)
            file = await batch.keep(begun, day, text)
            note.detail["file_id"] = str(file.id)
            await show_markdown("digest", text, f"The digest of {day.isoformat()}")
            return text

        found = await step(account, "count", count)
        summary = await step(account, "summary", sum_up, retries=0)
        await step(account, "keep", keep)
        return f"The digest of {day.isoformat()}: {sum(one.runs for one in found.runs)} runs."

    name = f"digest {asked_day or yesterday.isoformat()}"
    return await maintained(DIGEST, name, batch, begun, work)


def _day(asked: str | None, yesterday: date) -> date:
    if asked is None:
        return yesterday
    try:
        return date.fromisoformat(asked)
    except ValueError:
        raise no_such_day(asked) from None
