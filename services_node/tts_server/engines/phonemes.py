"""How a text sounds: espeak-ng's phonemes, asked of a program of its own (`espeak.py`)."""

from __future__ import annotations

import json
import select
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

from services_node.tts_server.engines.contract import Crashed

PROGRAM = Path(__file__).with_name("espeak.py")
ANSWER_SECONDS = 10.0  # it takes a millisecond a sentence


class Phonemizer:
    """Started at the first question, and anew where it has ended. Several threads may ask; one question at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._program: subprocess.Popen[bytes] | None = None

    def __call__(self, texts: Sequence[str], voice: str) -> list[str]:
        """IPA of each text, words apart by spaces, sounds of two letters joined by `^`. voice: espeak-ng's name of it.

        Raises Crashed where the program does not answer.
        """
        question = json.dumps({"texts": list(texts), "voice": voice}).encode() + b"\n"
        with self._lock:
            try:
                told = self._ask(question)
            except OSError:  # it has ended: once more, with a new one
                self._end()
                try:
                    told = self._ask(question)
                except OSError as error:
                    self._end()
                    raise Crashed(f"espeak-ng's program failed: {error}") from None
        if "error" in told:
            raise Crashed(f"espeak-ng: {told['error']}")
        return [str(one) for one in told["phonemes"]]

    def _ask(self, question: bytes) -> dict[str, list[str]]:
        program = self._program or self._start()
        if program.stdin is None or program.stdout is None:
            raise OSError("it has no pipes")
        program.stdin.write(question)
        program.stdin.flush()
        answer = b""
        while not answer.endswith(b"\n"):
            if not select.select([program.stdout], [], [], ANSWER_SECONDS)[0]:
                raise OSError("it does not answer")
            piece = program.stdout.read1(2**16)  # type: ignore[attr-defined]
            if not piece:
                raise OSError("it has ended")
            answer += piece
        told: dict[str, list[str]] = json.loads(answer)
        return told

    def _start(self) -> subprocess.Popen[bytes]:
        self._program = subprocess.Popen(
            [sys.executable, "-I", str(PROGRAM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        return self._program

    def _end(self) -> None:
        if self._program is not None:
            self._program.kill()
            self._program.wait()
            self._program = None

    def close(self) -> None:
        with self._lock:
            self._end()
