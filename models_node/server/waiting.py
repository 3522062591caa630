"""A stream whose answer has yet to begin: its client, and whatever stands between, is told that work goes on.

After a moment the reply begins with status 200 and comments (`: …`, which every reader of server-sent events passes
over), so that nothing on the way takes the silence of a load or a long prompt for death. From then on a failure can
only be an event.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.types import Send

from models_node.residency.messages import Lease, Progress
from models_node.server.client import start
from wire.sse import HEADERS, MEDIA_TYPE, comment

STREAM_HEADERS = {"content-type": f"{MEDIA_TYPE}; charset=utf-8", **HEADERS}


@dataclass(frozen=True, slots=True)
class WaitingTimes:
    """first_seconds: how long the status is held back for the answer's own. every_seconds: between two comments."""

    first_seconds: float
    every_seconds: float


class StreamStart:
    """Begins a streamed reply exactly once: with the answer's own status and headers, or before them with comments.

    describe: what there is to tell of the wait now. Made when the request comes; `stop` must be called at the end.
    """

    def __init__(
        self, send: Send, headers: Mapping[str, str], times: WaitingTimes, describe: Callable[[], str]
    ) -> None:
        self._send = send
        self._headers = {**STREAM_HEADERS, **headers}
        self._times = times
        self._describe = describe
        self._stopping = asyncio.Event()
        self._telling: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(times.first_seconds, self._begin)

    async def answer(self, status: int, headers: Mapping[str, str], lease: Lease) -> None:
        """The answer begins now. What its headers would have said of the waits is said in a comment, if they left."""
        if await self.already():
            waits = f"queue_ms={lease.queue_seconds * 1000:.1f} load_ms={lease.load_seconds * 1000:.1f}"
            await self._body(comment(f"capibara6 waited {waits}"))
        else:
            await start(self._send, status, {**HEADERS, **headers})

    async def already(self) -> bool:
        """Ends the comments. Whether the reply has begun with them. Raises what sending them raised."""
        self._timer.cancel()
        if self._telling is None:
            return False
        self._stopping.set()
        await self._telling
        return True

    async def stop(self) -> None:
        """Ends the comments, whatever happens to them."""
        self._timer.cancel()
        if self._telling is not None:
            self._telling.cancel()
            await asyncio.gather(self._telling, return_exceptions=True)

    def _begin(self) -> None:
        self._telling = asyncio.create_task(self._tell())

    async def _tell(self) -> None:
        await start(self._send, 200, self._headers)
        while not self._stopping.is_set():
            await self._body(comment(f"capibara6 {self._describe()}"))
            with contextlib.suppress(TimeoutError):  # never cancelled in the middle of a write
                await asyncio.wait_for(self._stopping.wait(), self._times.every_seconds)

    async def _body(self, piece: bytes) -> None:
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})


def describe(model: str, progress: Progress, waited_seconds: float, *, granted: bool) -> str:
    """One line for a person who looks at the stream: `loading phi4_fast, 12 s of about 30 s`."""
    if granted:
        return f"{model} reads the prompt, {waited_seconds:.0f} s"
    if progress.phase in ("loading", "waking"):
        about = f" of about {progress.expected_seconds:.0f} s" if progress.expected_seconds else ""
        return f"{progress.phase} {model}, {progress.elapsed_seconds:.0f} s{about}"
    return f"queued for {model}, {progress.ahead} waiting, {waited_seconds:.0f} s"
