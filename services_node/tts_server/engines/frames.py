"""What passes between the server and an engine's process: frames of a JSON head and bytes. Pure."""

from __future__ import annotations

import json
import struct
from typing import Any, BinaryIO

_SIZES = struct.Struct(">II")
MOST_BYTES = 64 * 2**20


class Broken(Exception):
    """What came is no frame."""


def packed(head: dict[str, Any], body: bytes = b"") -> bytes:
    text = json.dumps(head).encode()
    return _SIZES.pack(len(text), len(body)) + text + body


def sizes_of(prefix: bytes) -> tuple[int, int]:
    """Bytes of the head and of the body. Raises Broken."""
    head, body = _SIZES.unpack(prefix)
    if head + body > MOST_BYTES:
        raise Broken(f"a frame of {head + body} bytes")
    return head, body


PREFIX_BYTES = _SIZES.size


def head_of(text: bytes) -> dict[str, Any]:
    try:
        head = json.loads(text)
    except ValueError as error:
        raise Broken(f"a head that is no JSON: {error}") from None
    if not isinstance(head, dict):
        raise Broken("a head that is no object")
    return head


def read_frame(stream: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """None at the end of the stream, also inside a frame."""
    prefix = stream.read(PREFIX_BYTES)
    if len(prefix) < PREFIX_BYTES:
        return None
    head_bytes, body_bytes = sizes_of(prefix)
    head, body = stream.read(head_bytes), stream.read(body_bytes)
    if len(head) < head_bytes or len(body) < body_bytes:
        return None
    return head_of(head), body
