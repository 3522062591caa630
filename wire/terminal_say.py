"""`./capibara6 say "…"`: a text spoken by the running stack, to the loudspeaker or into a file.

Without `-o` it is played while it is spoken, by the first player this machine has; where there is none it becomes
`speech.mp3` in the folder at hand (never in another file's place). A file appears under its name when it is whole.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from stack.errors import StackError
from stack.secrets import load_secrets
from stack.settings import get_settings
from stack.topology import keys_needed, load_topology
from wire.clients.speech import PCM_HERTZ, SpeechClient, SpeechStream
from wire.errors import ApiError

FORMATS = ("mp3", "opus", "aac", "flac", "wav", "pcm")
ENDINGS = {f".{name}": name for name in FORMATS} | {".ogg": "opus", ".raw": "pcm"}
WRONG = 2  # the text, an option, a file that cannot be written
FAILED = 6  # the stack could not speak it, as a service that does not come (stack.errors)
INTERRUPTED = 130
SAMPLE_BYTES = 2
# How each plays samples (signed 16 bits, mono) as they come on its standard input.
PLAYERS: dict[str, Sequence[str]] = {
    "paplay": ("--raw", "--format=s16le", f"--rate={PCM_HERTZ}", "--channels=1"),
    "aplay": ("-q", "-t", "raw", "-f", "S16_LE", "-r", str(PCM_HERTZ), "-c", "1", "-"),
    "pw-play": ("--raw", "--format=s16", f"--rate={PCM_HERTZ}", "--channels=1", "-"),
    "ffplay": ("-loglevel", "error", "-nodisp", "-autoexit", "-f", "s16le", "-ar", str(PCM_HERTZ), "-i", "-"),
}


@dataclass(frozen=True, slots=True)
class Asked:
    """output: None to play it."""

    request: dict[str, Any]
    output: Path | None


class Ears(Protocol):
    """Where the audio goes."""

    async def hear(self, chunk: bytes) -> None: ...

    async def end(self) -> str:
        """It is whole. Returns where it is, as it is told."""
        ...


async def say(client: SpeechClient, asked: Asked, player: str | None) -> int:
    """Speaks it, then tells who spoke on standard error. Raises ApiError, OSError."""
    output = asked.output if asked.output is not None or player is not None else free_name(Path("speech.mp3"))
    request = asked.request | ({} if output is not None else {"response_format": "pcm"})
    asked_at, first, took, size = time.monotonic(), 0.0, 0.0, 0
    async with client.speak(request) as stream, _ears(output, player) as ears:
        async for chunk in stream.chunks:
            took += time.monotonic() - asked_at
            first, size = first or took, size + len(chunk)
            await ears.hear(chunk)
            asked_at = time.monotonic()  # what a player takes to play it is not the server's time
        took += time.monotonic() - asked_at
        where = await ears.end()
        _tell(stream, where, seconds_of(request["response_format"], size, output), took, first)
    return 0


@asynccontextmanager
async def _ears(output: Path | None, player: str | None) -> AsyncIterator[Ears]:
    if output is None and player is not None:
        async with _Player.started(player) as playing:
            yield playing
    elif output == Path("-"):
        yield _Standard(sys.stdout.buffer)
    else:
        assert output is not None  # noqa: S101 - without a player there is a file
        with _Whole(output) as writing:
            yield writing


class _Whole:
    """A file that has its name once it is whole; what was written of another is gone."""

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        except OSError as error:
            raise OSError(f"{path} can't be written: {error.strerror}") from None
        self._file, self._part = os.fdopen(handle, "wb"), Path(name)

    def __enter__(self) -> _Whole:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._part.unlink(missing_ok=True)

    async def hear(self, chunk: bytes) -> None:
        self._file.write(chunk)

    async def end(self) -> str:
        self._file.close()
        mask = os.umask(0)
        os.umask(mask)
        self._part.chmod(0o666 & ~mask)  # as any file that is made; temporary ones are their owner's alone
        self._part.replace(self._path)
        return str(self._path)


@dataclass(frozen=True, slots=True)
class _Standard:
    out: BinaryIO

    async def hear(self, chunk: bytes) -> None:
        self.out.write(chunk)
        self.out.flush()

    async def end(self) -> str:
        return "standard output"


class _Player:
    """A program that plays what it reads."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self._name, self._process = name, process

    @staticmethod
    @asynccontextmanager
    async def started(name: str) -> AsyncIterator[_Player]:
        process = await asyncio.create_subprocess_exec(name, *PLAYERS[Path(name).name], stdin=asyncio.subprocess.PIPE)
        try:
            yield _Player(Path(name).name, process)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()

    async def hear(self, chunk: bytes) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it was asked for
        self._process.stdin.write(chunk)
        await self._process.stdin.drain()

    async def end(self) -> str:
        assert self._process.stdin is not None  # noqa: S101
        self._process.stdin.close()
        if await self._process.wait():
            raise OSError(f"{self._name} could not play it: write it to a file with -o")
        return f"played by {self._name}"


def free_name(path: Path) -> Path:
    """The path, or with a number the first that nobody has."""
    number, found = 1, path
    while found.exists():
        number += 1
        found = path.with_stem(f"{path.stem}-{number}")
    return found


def seconds_of(format_: str, size: int, path: Path | None) -> float | None:
    """Of the audio; None where it takes a decoder that this environment has not."""
    if format_ == "pcm":
        return size / SAMPLE_BYTES / PCM_HERTZ
    if path is None or path == Path("-"):
        return None
    try:
        import av
    except ImportError:
        return None
    try:
        with av.open(str(path)) as container:
            return float(sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0)))
    except av.FFmpegError:
        return None


def _tell(stream: SpeechStream, where: str, seconds: float | None, took: float, first: float) -> None:
    heard = f"{seconds:.1f} s of audio in {took:.1f} s" if seconds else f"spoken in {took:.1f} s"
    factor = f" (real-time factor {took / seconds:.2f})" if seconds else ""
    kept = ", spoken before" if stream.cached else ""
    sys.stderr.write(
        f"{where} · engine {stream.engine} · voice {stream.voice} · {heard}{factor}{kept} · first after {first:.2f} s\n"
    )


def asked_of(arguments: Sequence[str] | None, read: Callable[[], str] | None = None) -> Asked:
    parser = argparse.ArgumentParser(
        prog="./capibara6 say",
        description="Speak a text with the running stack: play it, or write it to a file.",
        epilog="Without -o it is played (by paplay, aplay, pw-play or ffplay); where there is none of them it becomes "
        "speech.mp3 in this folder. A file appears under its name when it is whole.",
    )
    parser.add_argument("text", help="what to say; `-` reads it from standard input")
    parser.add_argument("-o", "--output", metavar="FILE", help="write it here; `-` is standard output")
    parser.add_argument("--voice", metavar="V", help="a voice, or a mix as `af_heart(2)+ef_dora(1)`")
    parser.add_argument("--language", choices=("es", "en"), help="(default: found out for each sentence)")
    parser.add_argument("--format", choices=FORMATS, help="(default: by the file's ending, else mp3)")
    parser.add_argument("--model", metavar="ENGINE", help="kokoro, piper, kyutai or coqui (default: kokoro)")
    parser.add_argument("--speed", type=float, metavar="X", help="0.25 to 4 (default: 1)")
    given = parser.parse_args(arguments)
    output = Path(given.output) if given.output else None
    ending = ENDINGS.get(output.suffix.lower()) if output is not None else None
    if output is not None and output.suffix and ending is None and given.format is None:
        parser.error(f"{output.suffix} is no format that is known here: name one with --format")
    request: dict[str, Any] = {"input": (read or sys.stdin.read)() if given.text == "-" else given.text}
    request["response_format"] = given.format or ending or "mp3"
    wanted = {"voice": given.voice, "language": given.language, "model": given.model, "speed": given.speed}
    return Asked(request | {name: value for name, value in wanted.items() if value is not None}, output)


def player() -> str | None:
    """The first player that this machine has."""
    return next((found for name in PLAYERS if (found := shutil.which(name))), None)


async def _run(url: str, key: str | None, asked: Asked) -> int:
    client = SpeechClient(url, key=key)
    try:
        return await say(client, asked, player() if asked.output is None else None)
    finally:
        await client.close()


def main(arguments: list[str] | None = None) -> int:
    try:
        asked = asked_of(arguments)
        settings = get_settings()
        key = None
        if keys_needed(settings, "tts-server"):
            key = load_secrets(settings).operator_key.get_secret_value()
        return asyncio.run(_run(load_topology(settings).url("tts-server"), key, asked))
    except StackError as error:
        sys.stderr.write(f"{error}\n{error.mend}\n")
        return error.exit_code
    except (OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"{error}\n")
        return WRONG
    except ApiError as error:
        sys.stderr.write(f"{error.code}: {error.detail}\n")
        if error.code == "tts_server_unreachable":
            sys.stderr.write("is the stack up? ./capibara6 status\n")
        if error.code == "input_too_long":
            sys.stderr.write("a longer text is a document: the flow `speech` makes a file of it (docs/speech.md)\n")
        return WRONG if error.status in {400, 404, 413, 422} else FAILED
    except KeyboardInterrupt:
        return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
