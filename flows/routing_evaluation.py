"""The Prefect flow `routing-evaluation`: recent questions routed anew, beside the model that answered them then.

Nothing is generated. The router is asked for the question alone: what stood before it in its conversation, and what was
loaded then, are no part of the comparison.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from prefect import flow
from prefect.client.schemas.objects import State

from db.batches import Begun
from db.reports import Reports, Routed
from db.runs import ROUTING_EVALUATION
from flows.batch_runs import perform
from flows.file_store import NewFile, one_chunk
from flows.maintenance import Maintenance, covered, maintained, step
from flows.shown import MOST_ROWS, show_table
from flows.summary import BATCH
from flows.work import Account, StepNote
from wire.context import RequestContext, outgoing_headers
from wire.errors import ApiError

MOST_CHARS = 32_000  # of a question


@dataclass(frozen=True, slots=True)
class Compared:
    """then: the model that answered. now: the one that would; None where the router could not say (`reason`)."""

    run_id: str
    then: str
    now: str | None
    reason: str

    @property
    def same(self) -> bool:
        return self.then == self.now


@flow(name=ROUTING_EVALUATION, persist_result=False, validate_parameters=False, log_prints=False, retries=0)
async def routing_evaluation(run_id: str | None = None, messages: int | None = None) -> State[None]:
    """messages: how many of the newest questions are looked at."""
    return await perform(
        ROUTING_EVALUATION,
        Maintenance,
        run_id,
        lambda batch, begun, context: _run(batch, begun, context, messages),
    )


async def _run(batch: Maintenance, begun: Begun, context: RequestContext, asked: int | None) -> State[None]:
    most = asked or batch.settings.routing_evaluation_messages

    async def work(account: Account) -> str:
        async def read(note: StepNote) -> list[Routed]:
            found = await Reports(batch.database).routed(owner=covered(begun), most=most)
            note.detail["questions"] = len(found)
            return found

        async def route(note: StepNote) -> list[Compared]:
            compared = [await _compared(batch, one, context) for one in questions]
            note.detail |= figures(compared)
            return compared

        async def keep(_: StepNote) -> None:
            told = {"figures": figures(found), "questions": [asdict(one) | {"same": one.same} for one in found]}
            data = json.dumps(told, ensure_ascii=False, indent=1).encode()
            new = NewFile(begun.owner, "routing-evaluation.json", "application/json", begun.id)
            await batch.files.save(new, one_chunk(data), most_bytes=len(data))

        questions = await step(account, "read", read)
        found = await step(account, "route", route)
        await step(account, "keep", keep)
        await show_table("routing-evaluation", table(found, batch.chat_url), "Those that differ come first")
        return words_of(found)

    return await maintained(ROUTING_EVALUATION, f"routing-evaluation of {most} questions", batch, begun, work)


async def _compared(batch: Maintenance, question: Routed, context: RequestContext) -> Compared:
    asked = {"model": "auto", "messages": [{"role": "user", "content": question.content[:MOST_CHARS]}]}
    try:
        route = await batch.models.route(asked, outgoing_headers(context) | BATCH)
    except ApiError as error:
        if error.status in {429, 503}:  # it is full or away: the step is tried again
            raise
        return Compared(str(question.run_id), question.model, None, error.code)
    return Compared(str(question.run_id), question.model, route.model, route.reason)


def figures(compared: Sequence[Compared]) -> dict[str, object]:
    """agreement: the share of those that were routed at all; None where there were none."""
    routed = [one for one in compared if one.now is not None]
    same = sum(one.same for one in routed)
    changes = Counter(f"{one.then} -> {one.now}" for one in routed if not one.same)
    return {
        "questions": len(compared),
        "routed": len(routed),
        "agreement": round(same / len(routed), 3) if routed else None,
        "changes": dict(changes.most_common(20)),
    }


def words_of(compared: Sequence[Compared]) -> str:
    if not compared:
        return "There were no routed questions."
    same = sum(one.same for one in compared)
    return f"{same} of {len(compared)} questions would meet the model that answered them."


def table(compared: Sequence[Compared], chat_url: str) -> list[dict[str, object]]:
    """Those that differ first. Not the questions themselves: whoever sees Prefect's page need not see those."""
    return [
        {
            "run": f"{chat_url}/api/runs/{one.run_id}",
            "then": one.then,
            "now": one.now or "",
            "same": "yes" if one.same else "no",
            "reason": one.reason,
        }
        for one in sorted(compared, key=lambda one: one.same)[:MOST_ROWS]
    ]
