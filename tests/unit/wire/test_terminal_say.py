"""`./capibara6 say`: what it asks for, where the audio goes, what is left when it fails."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from wire import terminal_say
from wire.clients.speech import SpeechStream
from wire.errors import Unavailable
from wire.terminal_say import Asked, asked_of, free_name, say

SECOND = b"\x01\x00" * 24000


class Client:
    def __init__(self, *chunks: bytes | Exception) -> None:
        self.chunks = chunks
        self.asked: Mapping[str, Any] = {}

    @asynccontextmanager
    async def speak(self, request: Mapping[str, Any]) -> AsyncIterator[SpeechStream]:
        self.asked = request
        yield SpeechStream("kokoro", "ef_dora", 24000, "", False, self._chunks())

    async def _chunks(self) -> AsyncIterator[bytes]:
        for chunk in self.chunks:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def kept(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def said(client: Client, *arguments: str, player: str | None = None) -> int:
    return await say(client, asked_of(["hola", *arguments]), player)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("arguments", "format_"),
    [([], "mp3"), (["-o", "a.wav"], "wav"), (["-o", "a.OGG"], "opus"), (["-o", "a.x", "--format", "flac"], "flac"),
     (["-o", "-"], "mp3"), (["-o", "sin"], "mp3")],
)  # fmt: skip
def test_the_format_is_told_by_the_ending_or_by_name(arguments: list[str], format_: str) -> None:
    assert asked_of(["hola", *arguments]).request["response_format"] == format_


def test_only_what_is_wished_is_asked_and_the_text_may_come_from_elsewhere() -> None:
    asked = asked_of(["-", "--voice", "v", "--language", "es", "--speed", "1.5", "--model", "piper"], lambda: "leído")
    assert asked == Asked(
        {"input": "leído", "response_format": "mp3", "voice": "v", "language": "es", "speed": 1.5, "model": "piper"},
        None,
    )


def test_an_ending_that_nobody_knows_is_a_wrong_argument(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as error:
        asked_of(["hola", "-o", "a.midi"])
    assert error.value.code == 2 and ".midi" in capsys.readouterr().err


async def test_a_file_is_whole_and_readable_as_others_and_who_spoke_is_told(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await said(Client(SECOND, SECOND), "-o", "a.pcm") == 0
    assert (folder / "a.pcm").read_bytes() == SECOND * 2
    mask = os.umask(0)
    os.umask(mask)
    assert stat.S_IMODE((folder / "a.pcm").stat().st_mode) == 0o666 & ~mask
    told = capsys.readouterr().err
    assert told.startswith("a.pcm · engine kokoro · voice ef_dora · 2.0 s of audio") and "real-time factor" in told


@pytest.mark.parametrize("fault", [Unavailable("broke"), KeyboardInterrupt()])
async def test_what_breaks_off_leaves_nothing_and_an_older_file_as_it_was(folder: Path, fault: Any) -> None:
    (folder / "a.pcm").write_bytes(b"older")
    with pytest.raises(type(fault)):
        async with terminal_say._ears(Path("a.pcm"), None) as ears:
            await ears.hear(SECOND)
            raise fault
    assert kept(folder) == {"a.pcm": b"older"}


async def test_without_a_player_it_becomes_a_file_that_is_nobody_elses(folder: Path) -> None:
    (folder / "speech.mp3").touch()
    assert await said(Client(b"mp3")) == 0
    assert (folder / "speech-2.mp3").read_bytes() == b"mp3" and free_name(Path("speech.mp3")) == Path("speech-3.mp3")


async def test_a_player_gets_samples_as_they_come(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program = folder / "tee"
    program.write_text('#!/bin/sh\nexec cat > "$1"\n')
    program.chmod(0o755)
    monkeypatch.setitem(terminal_say.PLAYERS, "tee", ("heard",))
    client = Client(SECOND, SECOND)
    assert await said(client, player=str(program)) == 0
    assert client.asked["response_format"] == "pcm" and (folder / "heard").read_bytes() == SECOND * 2
    assert "played by tee" in capsys.readouterr().err


async def test_a_player_that_fails_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = folder / "mute"
    program.write_text("#!/bin/sh\ncat >/dev/null; exit 3\n")
    program.chmod(0o755)
    monkeypatch.setitem(terminal_say.PLAYERS, "mute", ())
    with pytest.raises(OSError, match="with -o"):
        await said(Client(SECOND), player=str(program))


async def test_a_folder_that_is_not_there_is_told_by_the_files_own_name(folder: Path) -> None:
    with pytest.raises(OSError, match=r"^nowhere/a\.mp3 can't be written: No such file") as told:
        await said(Client(SECOND), "-o", "nowhere/a.mp3")
    assert ".part" not in str(told.value)
