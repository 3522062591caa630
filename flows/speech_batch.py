"""The Prefect flow `speech-batch`: a document spoken part by part, each part a task with retries.

It runs in a process that the flow worker starts for it, so it makes what it works with itself. What it was asked stands
in a file of its run (`speech.json`): Prefect is given the run's id alone. How far it is stands in Prefect (a progress
artifact) and in the run's steps, each written when it has ended.
"""

from __future__ import annotations

import logging

from prefect import flow, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Cancelled, Completed, Failed

from db.batches import Begun
from db.errors import DatabaseUnavailable
from db.runs import SPEECH_BATCH
from flows.batch_runs import BatchRun, RunClosed, account_since, perform
from flows.errors import speech_failed
from flows.shown import Progress, name_run, show_failure
from flows.speech import Narrator, RunPart, SpeechAccount, SpeechLimits, SpeechRequest, SpokenPart
from flows.speech_asked import ASKED, Asked, read_asked
from flows.steps import Effect, limited
from flows.voice import worth_trying_again
from stack.secrets import Secrets
from stack.settings import Settings
from stack.topology import keys_needed, load_topology
from wire.clients.speech import SpeechClient
from wire.context import RequestContext
from wire.errors import ApiError, InternalError

log = logging.getLogger("flows.speech_batch")

RETRY_SECONDS = 5.0  # a TTS server that restarts is back by then


class SpeechBatch(BatchRun):
    """One document at work."""

    def __init__(self, settings: Settings, secrets: Secrets) -> None:
        super().__init__(settings, secrets)
        key = secrets.services_key.get_secret_value() if keys_needed(settings, "tts-server") else None
        topology = load_topology(settings)
        url, self.chat_url = topology.url("tts-server"), topology.url("chat-api")
        self.speaker = SpeechClient(url, key=key, read_seconds=settings.speech_read_seconds)
        self.limits = SpeechLimits.of(settings)
        self.narrator = Narrator(self.speaker, self.files, self.limits)

    async def asked(self, begun: Begun) -> Asked:
        data = await self.file_named(begun, ASKED)
        if data is None:
            raise speech_failed("what was asked is not there any more.")
        return read_asked(data)

    async def note(self, begun: Begun, account: SpeechAccount) -> None:
        """Writes the newest step. Raises RunClosed when the run is not wanted any more; a database that is away says
        nothing against it, and gets the step at the end."""
        try:
            open_ = await self.rows.note_step(begun.id, begun.owner, account.steps[-1], position=len(account.steps))
        except DatabaseUnavailable:
            return
        if not open_:
            raise RunClosed

    async def close(self) -> None:
        await self.speaker.close()
        await super().close()


@flow(name=SPEECH_BATCH, persist_result=False, validate_parameters=False, log_prints=False, retries=0)
async def speech_batch(run_id: str) -> State[None]:
    """Speaks a document. It fails when a part cannot be spoken; then, and when it is cancelled, no audio is kept."""
    return await perform(SPEECH_BATCH, SpeechBatch, run_id, _run)


async def _run(batch: SpeechBatch, begun: Begun, context: RequestContext) -> State[None]:
    account, progress = account_since(SpeechAccount(), begun), Progress(f"speech-{begun.id}")

    async def told() -> None:
        await batch.note(begun, account)
        progress.tell(*_how_far(account))

    failure: ApiError | None = None
    try:
        if begun.resumed:  # what was spoken went with the process that spoke it
            await batch.rows.forget_steps(begun.id)
        asked = await batch.asked(begun)
        await name_run(f"speech-batch {asked.name}")
        await progress.begin(*_how_far(account))
        request = SpeechRequest(
            context, begun.owner, asked.text, asked.wish, asked.name, asked.captions, asked.conversation_id
        )
        await batch.narrator.narrate(request, account, _as_task(batch.limits), told)
    except RunClosed:
        return Cancelled(message=f"The run was closed after {account.done} of {account.of} parts.")
    except ApiError as error:
        failure = error
    except Exception:
        log.exception("a document could not be spoken", extra={"run": str(begun.id)})
        failure = InternalError("The document could not be spoken; the run id finds it in the logs.")
    await batch.finish(begun, account, failure)
    await progress.end(*_how_far(account))
    if failure is not None:
        await show_failure(SPEECH_BATCH, begun.id, failure, batch.chat_url)
        return Failed(message=f"{failure.code}: {failure.detail}")
    return Completed(message=f"{account.of} parts, {account.seconds:.0f} s of audio.")


def _how_far(account: SpeechAccount) -> tuple[float, str]:
    words = f"{account.done} of {account.of} parts, {account.seconds:.0f} s of audio"
    return 100 * account.done / max(1, account.of), words


def _as_task(limits: SpeechLimits) -> RunPart:
    """Each part as a task of the flow run, tried again where that may help."""

    async def run(name: str, effect: Effect[SpokenPart]) -> SpokenPart:
        failed: list[BaseException] = []

        @task(
            name=name,
            persist_result=False,
            cache_policy=NO_CACHE,
            retries=limits.part_retries,
            retry_delay_seconds=RETRY_SECONDS,
            retry_jitter_factor=0.5,
            retry_condition_fn=lambda _task, _run, _state: worth_trying_again(failed[-1]),
        )
        async def part() -> SpokenPart:
            try:
                return await limited(name, effect, limits.part_seconds)()
            except Exception as error:
                failed.append(error)
                raise

        return await part()

    return run
