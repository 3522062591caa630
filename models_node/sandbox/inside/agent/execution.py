"""One execution: what a client asked to run, and the bounded queue of NDJSON lines that answers it."""

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import orjson

RESULT_NAMES = frozenset(
    ["text", "html", "markdown", "svg", "png", "jpeg", "pdf", "latex", "json", "javascript", "data", "chart", "extra"],
)


class Execution:
    """Lines for one client; `finished` is set when no more follow, `abandoned` when the client is gone.

    `overflow` is set when the output is more than `output_bytes`; what follows is thrown away.
    """

    def __init__(self, code: str, envs: Mapping[str, str], output_bytes: int) -> None:
        self.code = code
        self.envs = dict(envs)
        self.abandoned = asyncio.Event()
        self.finished = asyncio.Event()
        self.overflow = asyncio.Event()
        self.lines: asyncio.Queue[bytes] = asyncio.Queue()
        self._limit = output_bytes
        self._left = output_bytes
        self._verdict = False

    def text(self, stream: str, text: str) -> None:
        """Output of the code, cut where the bound is."""
        if self.overflow.is_set():
            return
        size = len(text.encode("utf-8", "replace")) if len(text) * 4 > self._left else len(text)
        if size > self._left:
            text = text.encode("utf-8", "replace")[: self._left].decode("utf-8", "ignore")
            if text:
                self._put({"type": stream, "text": text, "timestamp": time.time_ns()})
            self._overflow()
            return
        self._left -= size
        self._put({"type": stream, "text": text, "timestamp": time.time_ns()})

    def result(self, data: Mapping[str, Any], *, is_main_result: bool) -> None:
        """Something that was shown, or the value of the last expression."""
        if self.overflow.is_set():
            return
        known = {name: value for name, value in data.items() if name in RESULT_NAMES}
        line = orjson.dumps({"type": "result", "is_main_result": is_main_result, **known})
        if len(line) > self._left:
            self._overflow()
            return
        self._left -= len(line)
        self.lines.put_nowait(line + b"\n")

    def error(self, name: str, value: str, traceback: str) -> None:
        """The code failed. After a verdict the kernel's own word on its interruption is no news."""
        if not self._verdict:
            self._put({"type": "error", "name": name, "value": value, "traceback": traceback})

    def verdict(self, name: str, value: str) -> None:
        """The agent ended it: this is its error, whatever the kernel says."""
        self.error(name, value, f"{name}: {value}")
        self._verdict = True

    def count(self, number: int) -> None:
        """How many executions its context has seen."""
        self._put({"type": "number_of_executions", "execution_count": number})

    def finish(self) -> None:
        """No more follows."""
        if not self.finished.is_set():
            self._put({"type": "end_of_execution"})
            self.finished.set()

    def _overflow(self) -> None:
        self.overflow.set()
        notice = f"[output cut: more than {self._limit} bytes]\n"
        self._put({"type": "stderr", "text": notice, "timestamp": time.time_ns()})

    def _put(self, event: Mapping[str, Any]) -> None:
        self.lines.put_nowait(orjson.dumps(event) + b"\n")
