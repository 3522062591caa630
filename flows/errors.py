"""What can end a run, beside the model's own errors. Each is an ApiError: it can be told to a client as it is."""

from __future__ import annotations

import uuid
from typing import Literal

from wire.errors import (
    ApiError,
    Conflict,
    DeadlineExceeded,
    InternalError,
    NotFound,
    TooLarge,
    TooManyRequests,
    Unavailable,
    UpstreamFailed,
    ValidationFailed,
)

CancelCode = Literal["client_disconnected", "cancelled_by_client", "cancelled_in_prefect", "server_stopping"]

_CANCELLED = {
    "client_disconnected": "The client went away.",
    "cancelled_by_client": "The run was cancelled.",
    "cancelled_in_prefect": "The flow run was cancelled in Prefect.",
}


def cancelled(code: CancelCode) -> ApiError:
    """Why a run was cancelled. A server that stops is worth asking again in a moment; the rest was somebody's wish."""
    if code == "server_stopping":
        return Unavailable("The server is stopping.", code=code, retry_after_seconds=5)
    return Conflict(_CANCELLED[code], code=code)


def turn_timeout(seconds: float) -> ApiError:
    return DeadlineExceeded(
        f"The turn took longer than {seconds:.0f} s (CAPIBARA6_CHAT_TIMEOUT_SECONDS).", code="turn_timeout"
    )


def too_many_runs(kind: str, limit: int) -> ApiError:
    word = {"chat": "turns"}.get(kind, f"{kind}_runs")
    detail = f"{limit} {word.replace('_', ' ')} are under way already."
    return TooManyRequests(detail, code=f"too_many_{word}", retry_after_seconds=2)


def run_id_in_use(run_id: uuid.UUID) -> ApiError:
    return Conflict(
        f"Run {run_id} is under way already: send another x-capibara6-run-id, or none.", code="run_id_in_use"
    )


def parent_cancelled(run_id: uuid.UUID) -> ApiError:
    return Conflict(f"The run that asks for this, {run_id}, was cancelled.", code="parent_cancelled")


def calls_no_tools(model: str) -> ApiError:
    """A client sent tools of its own to a model that was not made to call any."""
    return ValidationFailed(
        f"The model {model!r} calls no tools; leave `tools` out, or ask for another model (`auto` finds one that can).",
        code="tools_not_supported",
        param="tools",
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


def code_timeout(seconds: float) -> ApiError:
    """The whole run, waiting for a sandbox included. Code that runs too long itself is told as the code's own error."""
    return DeadlineExceeded(f"The run took longer than {seconds:.0f} s, its waiting included.", code="code_run_timeout")


def conversation_busy(seconds: float) -> ApiError:
    return Unavailable(
        f"Other code has been running in this conversation for {seconds:.0f} s.",
        code="conversation_busy",
        retry_after_seconds=5,
    )


def too_many_waiting(limit: int) -> ApiError:
    return TooManyRequests(
        f"{limit} runs wait for their turn in this conversation already.",
        code="too_many_waiting",
        retry_after_seconds=5,
    )


def file_too_large(name: str, most_bytes: int) -> ApiError:
    return TooLarge(f"{name!r} is larger than {most_bytes} bytes.", code="file_too_large", param="files")


def owner_files_full(name: str, most_bytes: int) -> ApiError:
    return TooLarge(
        f"{name!r} does not fit: your files may have {most_bytes} bytes together (CAPIBARA6_OWNER_FILES_BYTES). "
        "Remove some first.",
        code="owner_files_full",
        param="files",
    )


def sandbox_lost() -> ApiError:
    """The sandbox ended under the run. A new one would have none of its state, so nothing is tried again."""
    return UpstreamFailed(
        "The sandbox ended while it was used: its memory or its time was up, or the sandbox service restarted.",
        code="sandbox_lost",
        retry_after_seconds=1,
    )


def sandboxes_busy(words: str) -> ApiError:
    return Unavailable(f"No sandbox is to be had now: {words}", code="sandboxes_busy", retry_after_seconds=5)


def sandboxes_unavailable(words: str) -> ApiError:
    """None will be had until somebody mends the machine that makes them."""
    return Unavailable(words, code="sandboxes_unavailable", retry_after_seconds=30)


def sandbox_unreachable(words: str) -> ApiError:
    return Unavailable(
        f"The sandbox service cannot be reached ({words}).", code="sandbox_unreachable", retry_after_seconds=5
    )


def sandbox_refused(words: str) -> ApiError:
    return UpstreamFailed(f"The sandbox service refused our key: {words}", code="sandbox_refused")


def sandbox_full(words: str) -> ApiError:
    return TooLarge(f"The files do not fit into the sandbox: {words}", code="sandbox_full", param="files")


def file_refused(words: str) -> ApiError:
    """A name that cannot be written (too long, below a file), or a file that cannot be read."""
    return ValidationFailed(f"The sandbox refused a file: {words}", code="file_refused", param="files")


def sandbox_failed(words: str) -> ApiError:
    return UpstreamFailed(f"The sandbox failed: {words}", code="sandbox_failed")


def batch_failed(words: str) -> ApiError:
    return UpstreamFailed(words, code="batch_failed")


def job_failed(words: str) -> ApiError:
    return UpstreamFailed(f"The job could not be run: {words}", code="job_failed")


def speech_timeout(seconds: float) -> ApiError:
    return DeadlineExceeded(
        f"Speaking it took longer than {seconds:.0f} s (CAPIBARA6_SPEECH_RUN_SECONDS).", code="speech_timeout"
    )


def nothing_to_speak() -> ApiError:
    """A text of which nothing can be said: no words, or code alone."""
    return ValidationFailed("There is nothing in the text that can be spoken.", code="nothing_to_say", param="text")


def speech_failed(words: str) -> ApiError:
    return UpstreamFailed(f"The text could not be spoken: {words}", code="speech_failed")


def workflow_timeout(seconds: float) -> ApiError:
    """The whole run, its tries together."""
    return DeadlineExceeded(f"The run took longer than {seconds:.0f} s, its tries together.", code="workflow_timeout")


def flow_not_begun(name: str) -> ApiError:
    return InternalError(f"The flow {name} could not be begun; nothing of it is done.", code="flow_not_begun")


def prefect_unavailable() -> ApiError:
    return Unavailable(
        "Prefect cannot be reached; batches wait for it.", code="prefect_unavailable", retry_after_seconds=5
    )


def asked_is_gone() -> ApiError:
    return UpstreamFailed("What was asked is not there any more.", code="batch_failed")


def all_items_failed(count: int, first: str) -> ApiError:
    return UpstreamFailed(f"None of {count} items could be answered. The first: {first}", code="all_items_failed")


def no_such_day(asked: str) -> ApiError:
    return ValidationFailed(f"{asked[:40]!r} is no day, as 2026-01-31.", param="day")


def models_not_loaded(words: str) -> ApiError:
    return UpstreamFailed(f"Not every model could be loaded: {words}", code="models_not_loaded")


def no_models_named() -> ApiError:
    return ValidationFailed("No models are named (CAPIBARA6_WARM_UP_MODELS).", code="missing_field", param="models")
