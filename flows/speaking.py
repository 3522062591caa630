"""A chat's answer spoken while it is written: sentences in their order, behind the tokens and never before them.

What is heard of the answer waits here, bounded by the answer's spoken length; the tokens themselves do not wait. What
goes wrong with the speech stays with the speech: the answer is told whole, and beside it why it is not heard.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from dataclasses import dataclass, field
from typing import Any, Protocol

from db.records import FileRecord
from flows.audio import FORMS, Track
from flows.file_store import NewFile, one_chunk
from flows.steps import Steps
from flows.turn import Spoken, SpokenAnswer, Token, Transcript, TurnEvent, TurnRequest
from flows.voice import SPEAK, Said, Speaker, VoiceWish, spoken
from flows.work import Performed, Sink
from wire.context import enter, outgoing_headers
from wire.errors import ApiError, InternalError
from wire.sentences import SentenceStream

log = logging.getLogger("flows.speaking")

MARGIN_SECONDS = 1.0  # of the turn's own time, so that speech never ends the turn


class FileKeeper(Protocol):
    """`flows.file_store.FileStore`."""

    async def save(self, file: NewFile, chunks: Any, *, most_bytes: int) -> FileRecord: ...


@dataclass(frozen=True, slots=True)
class SpeakLimits:
    """answer_chars: of an answer that are spoken. wait_seconds: for the speech, once the text has ended."""

    answer_chars: int
    wait_seconds: float
    file_bytes: int


@dataclass(frozen=True, slots=True)
class Speaking:
    """What spoken turns work with, made once a process."""

    speaker: Speaker
    files: FileKeeper
    limits: SpeakLimits


@dataclass(frozen=True, slots=True)
class Heard:
    """A turn's sink: what it is told goes on at once, and then the speech hears of it."""

    sink: Sink[TurnEvent]
    speech: TurnSpeech

    async def put(self, event: TurnEvent) -> None:
        await self.sink.put(event)
        if isinstance(event, Token):
            self.speech.hear(event.text)


@dataclass(slots=True)
class TurnSpeech:
    """written: waits until the run's row is there, which its file belongs to."""

    wish: VoiceWish
    request: TurnRequest
    work_with: Speaking
    sink: Sink[TurnEvent]
    account: Transcript
    written: Any
    _sentences: asyncio.Queue[str | None] = field(default_factory=asyncio.Queue)  # bounded by `answer_chars`
    _stream: SentenceStream = field(default_factory=SentenceStream)
    _said: Said = field(default_factory=Said)
    _speaking: asyncio.Task[None] | None = None
    _late: ApiError | None = None
    _chars: int = 0
    _cut: bool = False
    _sequence: int = 0

    def hear(self, text: str) -> None:
        """A piece of the answer. Returns at once."""
        for sentence in self._stream.feed(text):
            self._offer(sentence)

    async def beside(self, conversing: Awaitable[Performed], steps: Steps) -> Performed:
        """The turn, with its speech: of an answer that is whole, it is waited for; of any other, it ends at once."""
        try:
            performed = await conversing
            if performed.status == "completed":
                self.account.answered = True
                await self._conclude(steps)
        finally:
            await self._stop()
        return performed

    def _offer(self, piece: str) -> None:
        sentence = piece.strip()
        if not sentence:
            return
        if self._cut or self._chars + len(sentence) > self.work_with.limits.answer_chars:
            if not self._chars and not self._cut:  # one endless sentence: its beginning is better than silence
                self._put(sentence[: self.work_with.limits.answer_chars])
            self._cut = True
            return
        self._put(sentence)

    def _put(self, sentence: str) -> None:
        self._chars += len(sentence)
        self._sentences.put_nowait(sentence)
        if self._speaking is None:
            self._speaking = asyncio.create_task(self._speak())

    async def _conclude(self, steps: Steps) -> None:
        for sentence in self._stream.finish():
            self._offer(sentence)
        speaking = self._speaking
        if speaking is None:
            self.account.speech = SpokenAnswer("empty", self.wish.format)
            return
        self._sentences.put_nowait(None)
        left = self.request.timeout_seconds - self.account.elapsed_ms() / 1000 - MARGIN_SECONDS
        seconds = max(MARGIN_SECONDS, min(self.work_with.limits.wait_seconds, left))

        async def rest() -> None:
            await asyncio.wait({speaking})
            speaking.result()

        try:
            await steps.run(SPEAK, rest, timeout_seconds=seconds)
        except ApiError as error:
            await self._failed(error)
        except Exception:  # a fault of ours does not cost the answer
            log.exception("speech failed unexpectedly")
            await self._failed(InternalError("The speech failed unexpectedly; the run id finds it in the logs."))

    async def _failed(self, error: ApiError) -> None:
        self._late = error
        await self._stop()
        self.account.speech = SpokenAnswer("failed", self.wish.format, said=self._said, cut=self._cut, error=error)

    async def _stop(self) -> None:
        speaking = self._speaking
        if speaking is not None:
            speaking.cancel()
            await asyncio.wait({speaking})
            if not speaking.cancelled():
                speaking.exception()  # told already, or of no interest any more

    # the speech's own task

    async def _speak(self) -> None:
        enter(self.request.context)
        async with self.account.step(SPEAK) as note:
            track = await asyncio.to_thread(Track, self.wish.format)
            sentences = 0
            try:
                while (sentence := await self._sentences.get()) is not None:
                    began = track.pcm_bytes
                    await self._sentence(sentence, track)
                    sentences += track.pcm_bytes > began
                await self._tell(await asyncio.to_thread(track.finish), "")
                note.detail |= {"sentences": sentences, "seconds": track.seconds, "characters": self._chars}
                note.detail |= {"engine": self._said.engine, "voice": self._said.voice, "cut": self._cut}
                self.account.speech = await self._kept(track)
            except asyncio.CancelledError:
                if self._late is not None:  # it took too long: a failure, nobody's wish
                    raise self._late from None
                raise

    async def _sentence(self, sentence: str, track: Track) -> None:
        headers = outgoing_headers(self.request.context)
        text = sentence  # told with the first piece that has something of it
        async with spoken(
            self.work_with.speaker, self.wish.request(sentence, self._said.voice), headers, self._said
        ) as samples:
            async for pcm in samples:
                piece = await asyncio.to_thread(track.feed, pcm)  # encoding keeps the tokens' loop free
                text = await self._tell(piece, text)
        await self._tell(track.end_sentence(), text)

    async def _tell(self, piece: bytes, text: str) -> str:
        """Returns the text that is still to be told."""
        if not piece:
            return text
        self._sequence += 1
        await self.sink.put(Spoken(piece, self.wish.format, self._sequence, text))
        return ""

    async def _kept(self, track: Track) -> SpokenAnswer:
        if not track.pcm_bytes:
            return SpokenAnswer("empty", self.wish.format)
        form, request = FORMS[self.wish.format], self.request
        await self.written()
        new = NewFile(
            request.context.principal.name, f"answer.{form.ending}", form.media_type, request.context.run_id,
            request.conversation_id if request.stored else None,
        )  # fmt: skip
        file = await self.work_with.files.save(
            new, one_chunk(track.whole()), most_bytes=self.work_with.limits.file_bytes
        )
        return SpokenAnswer("completed", self.wish.format, file, track.seconds, self._said, self._cut)
