"""What can go wrong with sandboxes, each in one place.

LaunchFailed      a sandbox could not be made: told to whoever waits for it as 503
AgentUnreachable  a sandbox's socket cannot be reached, breaks, or does not speak HTTP: told as 502

Errors that go to a client are `wire.errors.ApiError`s; the functions below make those of this room, so that their
words and codes stand in one place. They are told in E2B's shape, `{"code", "message"}` (`gateway/shapes.py`).
"""

from __future__ import annotations

from wire.errors import (
    ApiError,
    Conflict,
    InvalidRequest,
    NotFound,
    TooLarge,
    TooManyRequests,
    Unauthorized,
    Unavailable,
    error_of,
)


class LaunchFailed(Exception):
    """`str(error)` says why no sandbox came to be; `mend` what to do about it."""

    def __init__(self, why: str, mend: str = "") -> None:
        super().__init__(why)
        self.mend = mend


class AgentUnreachable(Exception):
    """`str(error)` says how the connection to the sandbox failed. begun: part of the answer had come by then."""

    def __init__(self, words: str, *, begun: bool = False) -> None:
        super().__init__(words)
        self.begun = begun


def no_sandbox(sandbox_id: str, why: str | None) -> ApiError:
    """why: what ended it, where that is remembered."""
    return NotFound(f"The sandbox {sandbox_id} was not found{f': {why}' if why else ''}.", code="sandbox_not_found")


def not_offered(what: str) -> ApiError:
    return error_of(501, f"{what}: not offered by this gateway.", code="not_implemented")


def unknown_template(name: str, known: tuple[str, ...]) -> ApiError:
    return NotFound(f"The template {name!r} was not found: this gateway has {', '.join(known)}.", code="no_template")


def sandboxes_unavailable(words: str) -> ApiError:
    return Unavailable(f"No sandbox can be had here: {words}", code="sandboxes_unavailable", retry_after_seconds=30)


def creation_failed(words: str) -> ApiError:
    return Unavailable(f"The sandbox could not be made: {words}", code="launch_failed", retry_after_seconds=5)


def creation_timed_out(seconds: float, words: str, retry_after_seconds: float) -> ApiError:
    return Unavailable(
        f"No sandbox became free in {seconds:g} s (CAPIBARA6_SANDBOX_CREATE_WAIT_SECONDS): {words}",
        code="sandbox_capacity_unavailable",
        retry_after_seconds=retry_after_seconds,
    )


def creation_queue_full(limit: int) -> ApiError:
    return TooManyRequests(
        f"{limit} creations wait already (CAPIBARA6_SANDBOX_CREATE_QUEUE_LIMIT).",
        code="creation_queue_full",
        retry_after_seconds=2,
    )


def gateway_stopping() -> ApiError:
    return Unavailable("The sandbox gateway is stopping.", code="server_stopping", retry_after_seconds=5)


def key_reused() -> ApiError:
    return error_of(422, "This Idempotency-Key came before, with another request.", code="idempotency_request_mismatch")


def too_many_keys() -> ApiError:
    return Conflict("Too many creations with an Idempotency-Key are under way.", code="idempotency_in_progress")


def wrong_token(header: str) -> ApiError:
    return Unauthorized(f"The sandbox asks for its own token in {header}.", code="invalid_sandbox_token")


def signed_urls_refused() -> ApiError:
    return error_of(
        501,
        "Signed URLs are not offered: without a host name for each sandbox they name none. "
        "Read and write files with the SDK's `files`.",
        code="not_implemented",
    )


def too_many_connections(limit: int) -> ApiError:
    return TooManyRequests(
        f"The sandbox is being asked {limit} things at once already.", code="sandbox_busy", retry_after_seconds=1
    )


def upload_too_large(limit: int, setting: str) -> ApiError:
    return TooLarge(f"The body is larger than {limit} bytes (CAPIBARA6_{setting.upper()}).")


def upload_stalled(seconds: float) -> ApiError:
    return InvalidRequest(
        f"The body brought too little for {seconds:g} s (CAPIBARA6_SANDBOX_STALL_SECONDS).",
        code="upload_stalled",
        status=408,
    )


def agent_silent(seconds: float) -> ApiError:
    return error_of(504, f"The sandbox gave no answer in {seconds:g} s.", code="sandbox_silent")
