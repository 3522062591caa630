"""What every Connect call says in its headers: the user, the deadline, how often a silent stream shows life."""

import math
import time
from typing import Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext

from .errors import UnknownUser
from .paths import check_user, user_of

# A stream finds out that its client is gone when it next sends something: not later than this.
MAX_SILENCE_SECONDS = 10.0


def require_user(ctx: RequestContext[Any, Any]) -> None:
    """Raises ConnectError for anybody but `user`."""
    try:
        check_user(user_of(ctx.request_headers.get("authorization", "")))
    except UnknownUser as error:
        raise ConnectError(Code.UNAUTHENTICATED, str(error)) from error


def deadline_of(ctx: RequestContext[Any, Any]) -> float:
    """When the call must have ended, by `time.monotonic`; infinite without a timeout."""
    left_ms = ctx.timeout_ms
    return math.inf if left_ms is None else time.monotonic() + left_ms / 1000


def keepalive_seconds(ctx: RequestContext[Any, Any]) -> float:
    """The longest silence of a stream."""
    try:
        asked = float(ctx.request_headers.get("keepalive-ping-interval", ""))
    except ValueError:
        return MAX_SILENCE_SECONDS
    return min(asked, MAX_SILENCE_SECONDS) if asked > 0 else MAX_SILENCE_SECONDS
