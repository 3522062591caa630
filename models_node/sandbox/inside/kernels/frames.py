"""The frames between the agent and a kernel: four bytes of length (big-endian), then that many bytes of JSON.

Agent to kernel: `{"op": "execute", "code", "envs"}`, `{"op": "ack"}` after a shown result.
Kernel to agent, `{"event": …}`: `ready`; `result` (`data` by name, `is_main_result`; waits for its `ack`, so that
output before and after keeps its place); `stdout`, `stderr` (`text`); `error` (`name`, `value`, `traceback`);
`count` (`execution_count`); `done`.
Either side treats the other's bytes as untrusted: a kernel runs user code, which can write to this socket too.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

_LENGTH = struct.Struct("!I")


class FrameError(Exception):
    """The other side does not speak the protocol: an oversized frame, or bytes that are no JSON object."""


def pack(message: Mapping[str, Any]) -> bytes:
    """One frame. Values that JSON does not know are written as their `str`; lone surrogates are replaced."""
    try:
        body = orjson.dumps(message, default=str, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
    except TypeError:
        body = orjson.dumps(_plain(message, depth=0))
    return _LENGTH.pack(len(body)) + body


class FrameReader:
    """Cuts a stream of bytes into frames of at most `max_bytes` each."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The frames that are complete now. Raises FrameError."""
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(self._buffer)
            if length > self._max_bytes:
                raise FrameError(f"a frame of {length} bytes, more than {self._max_bytes}")
            end = _LENGTH.size + length
            if len(self._buffer) < end:
                return
            body = bytes(self._buffer[_LENGTH.size : end])
            del self._buffer[:end]
            try:
                message = orjson.loads(body)
            except orjson.JSONDecodeError as error:
                raise FrameError("a frame that is no JSON") from error
            if not isinstance(message, dict):
                raise FrameError("a frame that is no object")
            yield message


_MAX_DEPTH = 64


def _plain(value: Any, depth: int) -> Any:
    """The same value with nothing in it that orjson refuses."""
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**64 else str(value)
    if depth < _MAX_DEPTH and isinstance(value, Mapping):
        return {_text(str(key)): _plain(item, depth + 1) for key, item in value.items()}
    if depth < _MAX_DEPTH and isinstance(value, list | tuple):
        return [_plain(item, depth + 1) for item in value]
    return _text(str(value))


def _text(value: str) -> str:
    return value.encode("utf-8", "replace").decode("utf-8")
