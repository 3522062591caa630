"""The Prefect flow `retention`: removes what is past its time, some at a time; or counts it, and removes nothing."""

from __future__ import annotations

import contextlib
import json
import uuid
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from prefect import flow
from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import State

from db.ageing import Ageing
from db.batches import Begun
from db.conversations import Conversations
from db.runs import RETENTION
from flows.batch_runs import perform
from flows.cuts import Cuts, Removed, cuts_of, retention_told
from flows.deployments import OPERATORS, TAG
from flows.file_store import NewFile, one_chunk
from flows.maintenance import Maintenance, maintained, step
from flows.shown import show_markdown
from flows.work import Account, StepNote
from stack.secrets import Secrets
from stack.settings import Settings
from wire.errors import Forbidden, NotFound

AT_A_TIME = 200
FLOW_RUNS_AT_A_TIME = 50  # the most that Prefect removes at once
MOST_PAGES = 500  # of one night; the next goes on
FINAL_STATES = ["COMPLETED", "FAILED", "CANCELLED", "CRASHED"]


class RetentionRun(Maintenance):
    def __init__(self, settings: Settings, secrets: Secrets) -> None:
        super().__init__(settings, secrets)
        self.ageing, self.conversations = Ageing(self.database), Conversations(self.database)

    async def remove_runs(self, before: datetime) -> int:
        return await in_pages(lambda: self.ageing.remove_runs(before, AT_A_TIME))

    async def remove_conversations(self, before: datetime) -> int:
        async def page() -> int:
            quiet = await self.ageing.quiet_conversations(before, AT_A_TIME)
            for conversation_id, owner in quiet:
                with contextlib.suppress(NotFound):  # its owner was faster
                    await self.files.remove_bytes(await self.conversations.remove(conversation_id, owner))
            return len(quiet)

        return await in_pages(page)

    async def remove_files(self, _before: datetime) -> int:
        return await self.files.sweep(timedelta(seconds=self.settings.file_retention_seconds))

    async def count_flow_runs(self, before: datetime) -> int:
        async with get_client() as client:
            return int((await client.request("POST", "/flow_runs/count", json={"flow_runs": past(before)})).json())

    async def remove_flow_runs(self, before: datetime) -> int:
        async with get_client() as client:
            return await in_pages(lambda: remove_flow_runs(client, before))


def past(before: datetime) -> dict[str, Any]:
    """Our ended flow runs of before, as Prefect is asked for them; the team's own are left alone."""
    return {
        "tags": {"all_": [TAG]},
        "end_time": {"before_": before.isoformat()},
        "state": {"type": {"any_": FINAL_STATES}},
    }


async def remove_flow_runs(client: PrefectClient, before: datetime) -> int:
    """A page of flow runs with their artifacts, which Prefect would keep. Returns how many."""
    asked = {"flow_runs": past(before), "limit": FLOW_RUNS_AT_A_TIME}
    ids = [one["id"] for one in (await client.request("POST", "/flow_runs/filter", json=asked)).json()]
    if not ids:
        return 0
    of_them = {"artifacts": {"flow_run_id": {"any_": ids}}, "limit": FLOW_RUNS_AT_A_TIME}
    while artifacts := (await client.request("POST", "/artifacts/filter", json=of_them)).json():
        for artifact in artifacts:
            await client.delete_artifact(uuid.UUID(artifact["id"]))
    these = {"flow_runs": {"id": {"any_": ids}}, "limit": FLOW_RUNS_AT_A_TIME}
    path: Any = "/flow_runs/bulk_delete"  # which the client's own list of paths has not got
    removed = await client.request("POST", path, json=these)
    return len(removed.json()["deleted"])


async def in_pages(page: Callable[[], Awaitable[int]]) -> int:
    """Until a page is empty, or there were enough for one run. Returns how many together."""
    together = 0
    for _ in range(MOST_PAGES):
        count = await page()
        together += count
        if not count:
            break
    return together


@flow(name=RETENTION, persist_result=False, validate_parameters=False, log_prints=False, retries=0)
async def retention(run_id: str | None = None, dry_run: bool = True) -> State[None]:
    """dry_run: it is counted what would be removed, and nothing is."""
    return await perform(RETENTION, RetentionRun, run_id, lambda batch, begun, _: _run(batch, begun, dry_run=dry_run))


async def _run(batch: RetentionRun, begun: Begun, *, dry_run: bool) -> State[None]:
    async def work(account: Account) -> str:
        if begun.owner not in OPERATORS:
            raise Forbidden("Only operators may remove what is everybody's.", code="operators_only")
        removed = await _swept(batch, account, cuts_of(batch.settings, datetime.now(UTC)), dry_run=dry_run)
        text = retention_told(removed, dry_run=dry_run)
        data = json.dumps({one.what: one.count for one in removed}).encode()
        for name, media_type, content in (
            ("retention.md", "text/markdown", text.encode()),
            ("retention.json", "application/json", data),
        ):
            new = NewFile(begun.owner, name, media_type, begun.id)
            await batch.files.save(new, one_chunk(content), most_bytes=len(content))
        await show_markdown("retention", text, "What is past its time")
        together = sum(one.count or 0 for one in removed)
        return f"{together} things {'would be removed' if dry_run else 'were removed'}."

    name = f"retention {datetime.now(UTC).date().isoformat()}{' (dry run)' if dry_run else ''}"
    return await maintained(RETENTION, name, batch, begun, work)


async def _swept(batch: RetentionRun, account: Account, cuts: Cuts, *, dry_run: bool) -> list[Removed]:
    """Each kind of thing by itself."""
    ageing = batch.ageing
    kinds = (
        ("conversations", cuts.conversations, ageing.count_conversations, batch.remove_conversations,
         "CAPIBARA6_CONVERSATION_RETENTION_DAYS"),
        ("runs", cuts.runs, ageing.count_runs, batch.remove_runs, "CAPIBARA6_RUN_RETENTION_DAYS"),
        ("files", cuts.files, ageing.count_files, batch.remove_files, "CAPIBARA6_FILE_RETENTION_SECONDS"),
        ("prefect flow runs", cuts.flow_runs, batch.count_flow_runs, batch.remove_flow_runs,
         "CAPIBARA6_PREFECT_RETENTION_DAYS"),
    )  # fmt: skip
    removed = []
    for what, before, count, remove, setting in kinds:
        if before is None:
            removed.append(Removed(what, None, None, setting))
            continue

        async def effect(note: StepNote, act: Any = count if dry_run else remove, cut: datetime = before) -> int:
            done = int(await act(cut))
            note.detail["count"] = done
            return done

        removed.append(Removed(what, before, await step(account, what, effect), setting))
    return removed
