"""The Prefect flow `warm-up`: loads models before anybody asks them, one after the other."""

from __future__ import annotations

from prefect import flow
from prefect.client.schemas.objects import State

from db.batches import Begun
from db.runs import WARM_UP
from flows.batch_runs import perform
from flows.errors import models_not_loaded, no_models_named
from flows.maintenance import Maintenance, maintained, step
from flows.plain_words import one_line
from flows.shown import show_table
from flows.work import Account, StepNote
from wire.errors import ApiError


@flow(name=WARM_UP, persist_result=False, validate_parameters=False, log_prints=False, retries=0)
async def warm_up(run_id: str | None = None, models: list[str] | None = None) -> State[None]:
    """models: those to load; left out: the ones of the settings."""
    return await perform(WARM_UP, Maintenance, run_id, lambda batch, begun, _: _run(batch, begun, models))


async def _run(batch: Maintenance, begun: Begun, asked: list[str] | None) -> State[None]:
    wanted = asked or named(batch.settings.warm_up_models)

    async def work(account: Account) -> str:
        if not wanted:
            raise no_models_named()
        rows, failed = [], []
        for model in wanted:

            async def load(note: StepNote, model: str = model) -> float:
                seconds = await batch.models.load(model, seconds=batch.settings.warm_up_seconds)
                note.detail |= {"model": model, "load_seconds": seconds}
                return seconds

            try:
                took = await step(account, f"load {one_line(model, 60)}", load, retries=1)
                rows.append({"model": model, "loaded": "yes", "seconds": took, "reason": ""})
            except ApiError as error:  # the others are loaded all the same
                failed.append(f"{model}: {error.code}")
                rows.append({"model": model, "loaded": "no", "seconds": "", "reason": error.detail})
        await show_table("warm-up", sorted(rows, key=lambda row: str(row["loaded"])), "The models")
        if failed:
            raise models_not_loaded("; ".join(failed))
        return f"{len(rows)} models are loaded."

    return await maintained(WARM_UP, f"warm-up {', '.join(wanted) or 'of nothing'}", batch, begun, work)


def named(setting: str) -> list[str]:
    """Names of a comma-separated setting, each once."""
    return list(dict.fromkeys(name.strip() for name in setting.split(",") if name.strip()))
