"""Reading what a process writes, without threads: text of a kernel's stream, in whole lines where that costs little."""

import asyncio
import codecs
import os
from collections.abc import Callable

_READ_BYTES = 256 * 1024
# One turn of the loop reads no more than this of a stream: a flood must not starve the other requests.
_TURN_BYTES = 4 * 1024 * 1024
# Text is held for so long, so that what was printed together is one event.
_TOGETHER_SECONDS = 0.01
# With nobody to read for, a stream is emptied so often: its writer shall not block for ever, nor keep the agent busy.
_IDLE_SECONDS = 0.05


class OutputPipe:
    """The reading end of a kernel's stdout or stderr. `on_text` gets its text; None: it is read and thrown away."""

    def __init__(self, descriptor: int) -> None:
        os.set_blocking(descriptor, False)
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._pending: list[str] = []
        self._timer: asyncio.TimerHandle | None = None
        self._on_text: Callable[[str], None] | None = None
        self._open = True
        self._loop.add_reader(descriptor, self._readable)

    def listen(self, on_text: Callable[[str], None] | None) -> None:
        """From now on text goes to `on_text`; what came before went to whoever listened before."""
        self.drain()
        self._decoder.reset()
        self._on_text = on_text

    def drain(self) -> None:
        """Reads what is there now, up to a bound, and passes it on at once."""
        taken = 0
        while self._open and taken < _TURN_BYTES:
            count = self._read()
            if count == 0:
                break
            taken += count
        self._flush()

    def close(self) -> None:
        """Passes on what is left and closes the descriptor."""
        if self._open:
            self.drain()
        if self._open:
            self._end()
        if self._timer is not None:
            self._timer.cancel()

    def _readable(self) -> None:
        self._read()
        if self._on_text is None:
            self._pending.clear()
            if self._open:
                self._loop.remove_reader(self._descriptor)
                self._loop.call_later(_IDLE_SECONDS, self._resume)
        elif self._timer is None:
            self._timer = self._loop.call_later(_TOGETHER_SECONDS, self._flush)

    def _resume(self) -> None:
        if self._open:
            self._loop.add_reader(self._descriptor, self._readable)

    def _read(self) -> int:
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return 0
        except OSError:
            data = b""
        if not data:
            self._end()
            return 0
        self._pending.append(self._decoder.decode(data))
        return len(data)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        text = "".join(self._pending)
        self._pending.clear()
        if text and self._on_text is not None:
            self._on_text(text)

    def _end(self) -> None:
        self._open = False
        self._loop.remove_reader(self._descriptor)
        os.close(self._descriptor)
