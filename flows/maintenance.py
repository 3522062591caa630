"""What the maintenance flows share: what they work with, whose rows they cover, and a step that is a task of the flow
run, tried again where that does no harm.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State

from db.batches import Begun
from flows.batch_runs import BatchRun, account_since, carried_out
from flows.deployments import OPERATORS
from flows.shown import name_run, show_failure
from flows.work import Account, StepNote
from stack.secrets import Secrets
from stack.settings import Settings
from stack.topology import keys_needed, load_topology
from wire.clients.models import ModelServerClient
from wire.errors import ApiError

RETRIES = 2
RETRY_SECONDS = 5.0
READ_SECONDS = 120.0  # of the model server

T = TypeVar("T")


class Maintenance(BatchRun):
    """One maintenance run at work."""

    def __init__(self, settings: Settings, secrets: Secrets) -> None:
        super().__init__(settings, secrets)
        topology = load_topology(settings)
        key = secrets.services_key.get_secret_value() if keys_needed(settings, "model-server") else None
        self.models = ModelServerClient(topology.url("model-server"), key=key, read_seconds=READ_SECONDS)
        self.chat_url = topology.url("chat-api")

    async def close(self) -> None:
        await self.models.close()
        await super().close()


def covered(begun: Begun) -> str | None:
    """Whose rows a run covers: its owner's; None, everybody's, where an operator or the clock asked for it."""
    return None if begun.owner in OPERATORS else begun.owner


async def step(account: Account, name: str, effect: Callable[[StepNote], Awaitable[T]], *, retries: int = RETRIES) -> T:
    """The effect as a task of the flow run and a step of ours."""
    failed: list[Exception] = []
    async with account.step(name) as note:

        @task(
            name=name,
            persist_result=False,
            cache_policy=NO_CACHE,
            retries=retries,
            retry_delay_seconds=RETRY_SECONDS,
            retry_jitter_factor=0.5,
            retry_condition_fn=lambda _task, _run, _state: worth_another(failed[-1]),
        )
        async def run() -> T:
            try:
                return await effect(note)
            except Exception as error:
                failed.append(error)
                raise

        return await run()


def worth_another(error: Exception) -> bool:
    """Whether a step that failed may go well in a moment: a part was full, away or broken."""
    return isinstance(error, ApiError) and (error.status >= 500 or error.status == 429)


async def maintained(
    kind: str, name: str, batch: Maintenance, begun: Begun, work: Callable[[Account], Awaitable[str]]
) -> State[None]:
    """The run from its name to its end. One that an earlier worker left is done anew: it does no harm."""
    account = account_since(Account(), begun)
    await name_run(name)

    async def anew() -> str:
        if begun.resumed:
            await batch.persistently(lambda: batch.rows.forget_steps(begun.id))
        return await work(account)

    state = await carried_out(batch, begun, account, anew)
    if batch.failure is not None:
        await show_failure(kind, begun.id, batch.failure, batch.chat_url)
    return state
