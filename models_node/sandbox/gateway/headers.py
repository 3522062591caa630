"""Which headers pass between clients and sandboxes: those that are listed here, and no others. Pure code.

No token, key or cookie reaches a sandbox; nothing that speaks for the gateway or to a browser comes back.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable

Pairs = list[tuple[bytes, bytes]]

ASKED = frozenset(
    {b"accept", b"accept-encoding", b"content-encoding", b"content-type", b"keepalive-ping-interval", b"range",
     b"user-agent", b"connect-protocol-version", b"connect-timeout-ms", b"connect-content-encoding",
     b"connect-accept-encoding"}
)  # fmt: skip
ANSWERED = frozenset(
    {b"accept-ranges", b"cache-control", b"content-disposition", b"content-encoding", b"content-length",
     b"content-range", b"content-type", b"etag", b"last-modified"}
)  # fmt: skip
ASKED_PREFIX = b"x-metadata-"
ANSWERED_PREFIXES = (b"x-metadata-", b"connect-", b"trailer-")
# What a sandbox answers is data: no browser is to run it under the gateway's name.
ADDED: Pairs = [(b"x-content-type-options", b"nosniff"), (b"content-security-policy", b"sandbox")]


def to_sandbox(headers: Iterable[tuple[bytes, bytes]], *, keep_length: bool) -> Pairs:
    """Of a client's request. keep_length: its body goes on as it comes, with the length it was announced with."""
    kept: Pairs = []
    for name, value in headers:
        passes = name in ASKED or name.startswith(ASKED_PREFIX) or (keep_length and name == b"content-length")
        if passes or (name == b"authorization" and _is_user_name(value)):
            kept.append((name, value))
    return kept


def to_client(headers: Iterable[tuple[bytes, bytes]]) -> Pairs:
    """Of a sandbox's answer."""
    kept = [(name, value) for name, value in headers if name in ANSWERED or name.startswith(ANSWERED_PREFIXES)]
    return kept + ADDED


def _is_user_name(authorization: bytes) -> bool:
    """envd is told whom to act for by `Basic base64("user:")`; what has a password is no user name but a secret."""
    scheme, _, encoded = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return False
    try:
        name, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
    except binascii.Error:
        return False
    return bool(colon) and not password and len(name) <= 32
