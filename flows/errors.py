"""What can end a turn, beside the model's own errors. Each is an ApiError: it can be told to a client as it is."""

from __future__ import annotations

import uuid
from typing import Literal

from wire.errors import (
    ApiError,
    Conflict,
    DeadlineExceeded,
    NotFound,
    TooManyRequests,
    Unavailable,
    ValidationFailed,
)

CancelCode = Literal["client_disconnected", "cancelled_by_client", "cancelled_in_prefect", "server_stopping"]

_CANCELLED = {
    "client_disconnected": "The client went away.",
    "cancelled_by_client": "The run was cancelled.",
    "cancelled_in_prefect": "The flow run was cancelled in Prefect.",
}


def cancelled(code: CancelCode) -> ApiError:
    """Why a turn was cancelled. A server that stops is worth asking again in a moment; the rest was somebody's wish."""
    if code == "server_stopping":
        return Unavailable("The server is stopping.", code=code, retry_after_seconds=5)
    return Conflict(_CANCELLED[code], code=code)


def turn_timeout(seconds: float) -> ApiError:
    return DeadlineExceeded(
        f"The turn took longer than {seconds:.0f} s (CAPIBARA6_CHAT_TIMEOUT_SECONDS).", code="turn_timeout"
    )


def too_many_turns(limit: int) -> ApiError:
    return TooManyRequests(f"{limit} turns are under way already.", code="too_many_turns", retry_after_seconds=2)


def run_id_in_use(run_id: uuid.UUID) -> ApiError:
    return Conflict(
        f"Run {run_id} is under way already: send another x-capibara6-run-id, or none.", code="run_id_in_use"
    )


def message_too_long(model_words: str) -> ApiError:
    """The newest message alone is more than the model reads."""
    return ValidationFailed(
        f"The message is too long for the model, even without what was said before: {model_words}",
        code="message_too_long",
        param="message",
    )


def not_active(run_id: uuid.UUID) -> ApiError:
    return NotFound(f"Run {run_id} is not under way.", code="run_not_active", param="run_id")
