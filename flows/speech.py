"""The flow `speech`: a text spoken part by part, in order, into one file of its run.

Short texts are spoken beside the chat API (`SpeechWork`, steps of its flow run); documents by another process
(`flows.speech_batch`), which outlives the API's restarts. Both do it here. A part that fails is spoken again from its
beginning; nothing is kept of a text that was not spoken to its end.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from db.records import FileRecord, FinishedRun, NewRun, OwnedRun, RunStatus
from flows.audio import FORMS, AudioFormat, Encoder, seconds_of
from flows.documents import parts_of
from flows.errors import file_too_large, nothing_to_speak, speech_timeout
from flows.file_store import NewFile, one_chunk
from flows.link import Retries
from flows.speaking import FileKeeper
from flows.steps import Effect, Steps
from flows.voice import Said, Speaker, VoiceWish, spoken, worth_trying_again
from flows.work import Account, Performed, Sink, Span, finished_run
from stack.settings import Settings
from wire.clients.speech import NOTHING_TO_SAY
from wire.context import RequestContext, enter, outgoing_headers
from wire.errors import ApiError

KIND = "speech"
PIECE_BYTES = 256 * 2**10
CAPTIONS = "captions.json"


@dataclass(frozen=True, slots=True)
class SpeechLimits:
    """part_chars: of a text that are spoken at once. part_seconds, part_retries: of speaking them. run_seconds: of all
    parts together, beside the chat API."""

    part_chars: int
    part_seconds: float
    part_retries: int
    run_seconds: float
    file_bytes: int

    @classmethod
    def of(cls, settings: Settings) -> SpeechLimits:
        return cls(
            part_chars=settings.speech_part_chars,
            part_seconds=settings.speech_part_seconds,
            part_retries=settings.speech_part_retries,
            run_seconds=settings.speech_run_seconds,
            file_bytes=settings.max_file_bytes,
        )


@dataclass(frozen=True, slots=True)
class SpeechRequest:
    """name: of the file, without its ending. captions: whether the times of the words are kept, too."""

    context: RequestContext
    owner: str
    text: str
    wish: VoiceWish
    name: str = "speech"
    captions: bool = False
    conversation_id: uuid.UUID | None = None


@dataclass(frozen=True, slots=True)
class SpokenPart:
    """pcm: empty where there was nothing to say. words, segments: as `wire.clients.speech.Captioned`'s."""

    pcm: bytes
    said: Said
    words: Sequence[dict[str, Any]] = ()
    segments: Sequence[dict[str, Any]] = ()


@dataclass(slots=True)
class SpeechAccount(Account):
    """of: parts. seconds: of audio so far."""

    done: int = 0
    of: int = 0
    seconds: float = 0.0
    said: Said = field(default_factory=Said)
    files: list[FileRecord] = field(default_factory=list)


class RunPart(Protocol):
    """How a part is taken: as a step of a flow run, or a task."""

    async def __call__(self, name: str, effect: Effect[SpokenPart]) -> SpokenPart: ...


@dataclass(frozen=True, slots=True)
class Narrator:
    """What texts are spoken with."""

    speaker: Speaker
    files: FileKeeper
    limits: SpeechLimits

    async def narrate(
        self, request: SpeechRequest, account: SpeechAccount, run: RunPart, told: Callable[[], Awaitable[None]]
    ) -> None:
        """Speaks the text and keeps its file, and its captions where they are wished. told: is called after each part;
        what it raises ends the speaking. Raises ApiError.
        """
        parts = parts_of(request.text, self.limits.part_chars)
        account.of = len(parts)
        async with _Recording(request.wish.format, request.captions, self.limits.file_bytes) as recording:
            for number, text in enumerate(parts, start=1):
                name = f"part-{number}"
                async with account.step(name) as note:
                    part = await run(name, _effect(self.speaker, request, text, account.said.voice))
                    await recording.add(part)
                    account.done, account.seconds = number, recording.seconds
                    account.said.engine = part.said.engine or account.said.engine
                    account.said.voice = part.said.voice or account.said.voice
                    note.detail |= {"part": number, "of": len(parts), "characters": len(text)}
                    note.detail |= {"seconds": seconds_of(len(part.pcm)), "engine": part.said.engine}
                    note.detail |= {"voice": part.said.voice}
                await told()
            if not recording.pcm_bytes:
                raise nothing_to_speak()
            account.files += await self._kept(request, recording)

    async def _kept(self, request: SpeechRequest, recording: _Recording) -> list[FileRecord]:
        form = FORMS[request.wish.format]
        run_id, conversation_id = request.context.run_id, request.conversation_id
        new = NewFile(request.owner, f"{request.name}.{form.ending}", form.media_type, run_id, conversation_id)
        kept = [await self.files.save(new, recording.whole(), most_bytes=self.limits.file_bytes)]
        if request.captions:
            data = json.dumps({"words": recording.words, "segments": recording.segments}, ensure_ascii=False).encode()
            new = NewFile(request.owner, CAPTIONS, "application/json", run_id, conversation_id)
            kept.append(await self.files.save(new, one_chunk(data), most_bytes=self.limits.file_bytes))
        return kept


def _effect(speaker: Speaker, request: SpeechRequest, text: str, voice: str | None) -> Effect[SpokenPart]:
    async def effect() -> SpokenPart:
        enter(request.context)  # a step of a flow run begins in that thread's own
        return await spoken_part(speaker, request, text, voice)

    return effect


async def spoken_part(speaker: Speaker, request: SpeechRequest, text: str, voice: str | None) -> SpokenPart:
    """A part, whole: what breaks off can be spoken again without being heard twice. voice: of the parts before it.
    Raises ApiError."""
    asked, headers = request.wish.request(text, voice) | {"listener": False}, outgoing_headers(request.context)
    if not request.captions:
        said, pcm = Said(), bytearray()
        async with spoken(speaker, asked, headers, said) as samples:
            async for chunk in samples:
                pcm += chunk
        return SpokenPart(bytes(pcm), said)
    try:
        whole = await speaker.captions(asked, headers)
    except ApiError as error:
        if error.code == NOTHING_TO_SAY:
            return SpokenPart(b"", Said())
        raise
    return SpokenPart(whole.audio, Said(whole.engine, whole.voice), whole.words, whole.segments)


class _Recording:
    """Parts on their way into one file, which nobody finds before it is whole. Encoding has a thread to itself."""

    def __init__(self, format_: AudioFormat, captions: bool, most_bytes: int) -> None:
        self._format = format_
        self._most_bytes = most_bytes
        self._captions = captions
        self.pcm_bytes = 0
        self.words: list[dict[str, Any]] = []
        self.segments: list[dict[str, Any]] = []

    async def __aenter__(self) -> _Recording:
        self._file = await asyncio.to_thread(tempfile.TemporaryFile)  # has no name: nothing of it stays behind
        self._encoder = await asyncio.to_thread(Encoder, self._format, self._file)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        try:
            self._encoder.finish()
        finally:
            self._file.close()

    @property
    def seconds(self) -> float:
        return seconds_of(self.pcm_bytes)

    async def add(self, part: SpokenPart) -> None:
        """Raises TooLarge as soon as the file is: what comes after would be spoken in vain."""
        began = self.seconds
        await asyncio.to_thread(self._encoder.feed, part.pcm)
        if self._file.tell() > self._most_bytes:
            raise file_too_large(f"audio.{FORMS[self._format].ending}", self._most_bytes)
        self.pcm_bytes += len(part.pcm)
        if self._captions:
            self.words += [_moved(word, began) for word in part.words]
            self.segments += [_moved(segment, began) for segment in part.segments]

    async def whole(self) -> AsyncIterator[bytes]:
        await asyncio.to_thread(self._encoder.finish)
        self._file.seek(0)
        while piece := await asyncio.to_thread(self._file.read, PIECE_BYTES):
            yield piece


def _moved(timed: dict[str, Any], seconds: float) -> dict[str, Any]:
    return timed | {name: round(float(timed[name]) + seconds, 3) for name in ("start", "end") if name in timed}


@dataclass(frozen=True, slots=True)
class Begins:
    """What a run of speech tells while it runs: nobody listens, so nothing but that it began."""

    opens: ClassVar[bool] = True


class SpeechWork:
    """`flows.work.Work`. written: waits until the run's row is there, which its files belong to."""

    kind = KIND

    def __init__(self, request: SpeechRequest, narrator: Narrator, written: Callable[[], Awaitable[None]]) -> None:
        self._request = request
        self._narrator = narrator
        self._written = written
        self.account = SpeechAccount()

    @property
    def timeout_seconds(self) -> float:
        return self._narrator.limits.run_seconds

    def timed_out(self) -> ApiError:
        return speech_timeout(self.timeout_seconds)

    async def perform(self, sink: Sink[Begins], steps: Steps, on_first_output: Callable[[], None]) -> Performed:
        on_first_output()
        limits = self._narrator.limits
        retries = Retries(limits.part_retries, worth_trying_again)

        async def as_step(name: str, effect: Effect[SpokenPart]) -> SpokenPart:
            return await steps.run(name, effect, timeout_seconds=limits.part_seconds, retries=retries)

        try:
            await sink.put(Begins())
            await self._narrator.narrate(self._request, self.account, as_step, self._written)
        except ApiError as error:
            return Performed("failed", error)
        return Performed("completed")

    def finished(self, run: NewRun, status: RunStatus, error: ApiError | None, span: Span) -> FinishedRun:
        return finished_run(OwnedRun(run.id, run.owner, run.conversation_id), self.account, status, error, span)
