"""The server's side of an engine: its process, and the utterances under way in it."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import os
import time
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import Any

from services_node.tts_server.engines.contract import (
    Crashed,
    Damaged,
    EngineError,
    EngineInfo,
    Missing,
    Refused,
    Spoken,
    Utterance,
    Voice,
    Word,
)
from services_node.tts_server.engines.frames import PREFIX_BYTES, Broken, head_of, packed, sizes_of
from services_node.tts_server.engines.known import Known
from stack.install.environments import environment_python
from stack.paths import speech_directory
from stack.settings import REPOSITORY, Settings

log = logging.getLogger("services_node.tts_server.engines")

_ERRORS: dict[str, type[EngineError]] = {kind.__name__: kind for kind in (Missing, Damaged, Refused, Crashed)}
_Answer = Spoken | EngineError | None  # None: the end


class EngineProcess:
    """One engine, running. Made by `start`."""

    def __init__(self, known: Known, process: asyncio.subprocess.Process, stop_seconds: float) -> None:
        self._known = known
        self._process = process
        self._stop_seconds = stop_seconds
        self._numbers = itertools.count()
        self._under_way: dict[int, asyncio.Queue[_Answer]] = {}
        self._reading: asyncio.Task[None] | None = None
        self._late: set[int] = set()  # told to stop, and not stopped in time
        self._ended: str | None = None
        self._gone = asyncio.Event()
        self._info = EngineInfo(known.name, "starting")
        self.idle_since = time.monotonic()

    @classmethod
    async def start(cls, known: Known, settings: Settings) -> EngineProcess:
        """Returns when it can speak. Raises Missing, Damaged, Crashed."""
        folder = speech_directory(settings)
        cache = settings.home / "cache" / "tts" / known.name
        python = str(environment_python(settings, known.environment))
        arguments = [known.module, str(folder), str(cache), str(settings.tts_threads)]
        try:
            process = await asyncio.create_subprocess_exec(
                python,
                "-m",
                "services_node.tts_server.engines.host",
                *arguments,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                cwd=REPOSITORY,
                env=_environment(folder),
            )
        except OSError as error:
            raise Crashed(f"{known.name} could not be started: {error}") from None
        engine = cls(known, process, settings.tts_engine_stop_seconds)
        try:
            async with asyncio.timeout(settings.tts_engine_start_seconds):
                await engine._begin()
        except TimeoutError:
            await engine.stop()
            raise Crashed(f"{known.name} did not start in {settings.tts_engine_start_seconds:g} s") from None
        except (KeyError, TypeError, ValueError) as error:
            await engine.stop()
            raise Crashed(f"{known.name} told nothing of use: {type(error).__name__}: {error}") from None
        except BaseException:
            await engine.stop()
            raise
        return engine

    @property
    def info(self) -> EngineInfo:
        return self._info

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> str | None:
        """Why it can't speak any more; None while it can."""
        return self._ended

    async def gone(self) -> None:
        """Returns when it can't speak any more."""
        await self._gone.wait()

    @property
    def busy(self) -> bool:
        return bool(self._under_way)

    async def speak(self, utterance: Utterance) -> AsyncGenerator[Spoken, None]:
        """Closing it stops the work; an engine that does not stop is ended. Raises Refused, Damaged, Crashed."""
        number = next(self._numbers)
        if self._ended is not None:
            raise Crashed(self._ended)
        answers: asyncio.Queue[_Answer] = asyncio.Queue()  # as long as the audio of one sentence
        self._under_way[number] = answers
        finished = False
        try:
            await self._put({"speak": number, **_told(utterance)})
            while True:
                answer = await answers.get()
                if isinstance(answer, Spoken):
                    yield answer
                    continue
                finished = True
                if answer is not None:
                    raise answer
                return
        finally:
            if finished or self._ended is not None:
                self._forget(number)
            else:
                await self._stop_speaking(number, answers)

    async def stop(self) -> None:
        """Ends the process, whatever it does."""
        self._fail(f"{self._known.name} was stopped")
        if self._process.stdin is not None:
            self._process.stdin.close()  # it ends with its input
        try:
            async with asyncio.timeout(self._stop_seconds):
                await self._process.wait()
        except TimeoutError:
            self._kill()
            await self._process.wait()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _begin(self) -> None:
        try:
            frame = await self._frame()
        except Broken as error:
            raise Crashed(f"{self._known.name} sent what is no frame: {error}") from None
        if frame is None:
            raise Crashed(f"{self._known.name} ended while it started (exit status {await self._process.wait()})")
        head, _ = frame
        if "error" in head:
            raise _error_of(head)
        voices = tuple(Voice(**voice) for voice in head["voices"])
        spoken = tuple(dict.fromkeys(voice.language.partition("-")[0] for voice in voices))
        self._info = EngineInfo(
            self._known.name,
            "ready",
            sample_rate=int(head["sample_rate"]),
            mixes=bool(head["mixes"]),
            voices=voices,
            speeds=self._known.speeds,
            languages=spoken if self._known.by_voice else self._known.languages,
        )
        self._reading = asyncio.create_task(self._read(), name=f"engine {self._known.name}")

    async def _read(self) -> None:
        """Frames go to whoever waits for them; the process's end goes to all."""
        try:
            while frame := await self._frame():
                head, body = frame
                number = head.get("id", -1)
                if "error" in head or "end" in head:
                    self._late.discard(number)
                answers = self._under_way.get(number)
                if answers is None:
                    continue
                if "error" in head:
                    answers.put_nowait(_error_of(head))
                elif "end" in head:
                    answers.put_nowait(None)
                else:
                    answers.put_nowait(Spoken(body, tuple(Word(*word) for word in head["words"])))
            reason = f"{self._known.name} ended (exit status {await self._process.wait()})"
        except (Broken, KeyError, TypeError, ValueError) as error:
            reason = f"{self._known.name} sent what is no frame: {type(error).__name__}: {error}"
            self._kill()
        if self._ended is None:
            log.error("an engine's process is gone", extra={"engine": self._known.name, "reason": reason})
        self._fail(reason)

    async def _frame(self) -> tuple[dict[str, Any], bytes] | None:
        stream = self._process.stdout
        if stream is None:
            return None
        try:
            head_bytes, body_bytes = sizes_of(await stream.readexactly(PREFIX_BYTES))
            return head_of(await stream.readexactly(head_bytes)), await stream.readexactly(body_bytes)
        except asyncio.IncompleteReadError:
            return None

    async def _put(self, head: dict[str, Any]) -> None:
        if self._process.stdin is None or self._process.stdin.is_closing():
            raise Crashed(self._ended or f"{self._known.name} has ended")
        try:
            self._process.stdin.write(packed(head))
            await self._process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise Crashed(self._ended or f"{self._known.name} has ended") from None

    async def _stop_speaking(self, number: int, answers: asyncio.Queue[_Answer]) -> None:
        """Waits for its word that it has stopped, so that nothing goes on behind a client that left. While it speaks
        for others, one that does not stop is waited for until they have gone."""
        try:
            async with asyncio.timeout(self._stop_seconds):
                await self._put({"stop": number})
                while isinstance(await answers.get(), Spoken):
                    pass
        except TimeoutError:
            self._late.add(number)
            if len(self._under_way) == 1:
                self._end_late()
        except EngineError:
            pass  # it is gone already
        finally:
            self._forget(number)

    def _end_late(self) -> None:
        if self._late and self._ended is None and self._under_way.keys() <= self._late:
            log.error("an engine did not stop: it is ended", extra={"engine": self._known.name})
            self._fail(f"{self._known.name} did not stop, and was ended")
            self._kill()

    def _forget(self, number: int) -> None:
        self._under_way.pop(number, None)
        self.idle_since = time.monotonic()
        if self._late and not self._under_way:
            asyncio.get_running_loop().call_later(self._stop_seconds, self._end_late)

    def _fail(self, reason: str) -> None:
        if self._ended is None:
            self._ended = reason
        self._gone.set()
        for answers in self._under_way.values():
            answers.put_nowait(Crashed(self._ended))

    def _kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()


def _told(utterance: Utterance) -> dict[str, Any]:
    return {name: getattr(utterance, name) for name in ("text", "language", "voice", "speed", "deadline", "hurry")}


def _error_of(head: dict[str, Any]) -> EngineError:
    return _ERRORS.get(head["error"], Crashed)(str(head.get("detail", "")), str(head.get("mend", "")))


def _environment(folder: Path) -> dict[str, str]:
    """What an engine's process is told: no key of ours, nothing that would reach for the network."""
    kept = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH")
    told = {name: os.environ[name] for name in kept if name in os.environ}
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1", "TTS_HOME": str(folder)}
    return told | offline | {"PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1", "PYTHONDONTWRITEBYTECODE": "1"}
