"""What can go wrong on the model node, each in one place.

CatalogueError            the catalogue cannot be read, or says something impossible (start is refused)
WeightsError              the packaged weights cannot be made (install fails with one line)
    FetchError            weights cannot be downloaded
EngineFailed              an engine's process ended, or never became ready: told to waiting requests as 502/503/504
    EngineStartTimedOut   it was given its time and did not answer
    EngineOutOfMemory     it asked for more memory than there was
    MissingWeights        there is nothing to load
RouterUnavailable         the router's encoder or head cannot be loaded: it goes on with facts and the default
RoutingTextsError         texts that the router is to learn from or be judged by are not as they should be
ReleaseFailed             an engine was stopped, but its processes or memory are not seen to be gone

Errors that go to a client are `wire.errors.ApiError`s; the functions below make those of this room, so that their
codes stand in one place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from stack.errors import ConfigurationError, InstallError
from wire.errors import (
    ApiError,
    Conflict,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    TooManyRequests,
    Unavailable,
    UpstreamFailed,
    ValidationFailed,
)


class CatalogueError(ConfigurationError):
    """`str(error)` is one line that names the file and the field."""


class WeightsError(InstallError):
    """`str(error)` is one line that says what failed; `mend` what to do."""


class FetchError(WeightsError):
    """`str(error)` is one line that names the source or the folder; `mend` says what to do."""


class EngineFailed(Exception):
    """`str(error)` says how the engine ended and where its log is."""


class EngineStartTimedOut(EngineFailed):
    """The engine's process lives, but did not become ready in time."""


class EngineOutOfMemory(EngineFailed):
    """The kernel or the allocator refused it memory; `str(error)` says so and what to do."""


class MissingWeights(EngineFailed):
    """`str(error)` names the folder that is missing and what to do. Nothing crashed: it counts for no breaker."""


class RouterUnavailable(Exception):
    """`str(error)` says what is missing. Requests are then routed without looking at their meaning."""


class RoutingTextsError(ConfigurationError):
    """`str(error)` is one line that names the file and its line."""


class ReleaseFailed(Exception):
    """`str(error)` says what is left of the engine. Its memory stays charged until it is seen to be gone."""


def model_not_found(model: str, known: Iterable[str]) -> ApiError:
    listed = ", ".join(sorted(known))
    return NotFound(f"model {model!r} does not exist; known models: {listed}", code="model_not_found", param="model")


def no_vision_model(detail: str) -> ApiError:
    return ValidationFailed(detail, code="no_vision_model", param="messages")


def queue_full(here: int, everywhere: int, *, batch: bool = False) -> ApiError:
    """here: requests that wait for this model. everywhere: for any model."""
    whose = " (batch requests may take half of a queue)" if batch else ""
    return TooManyRequests(
        f"the queue is full: {here} requests wait for this model, {everywhere} on this node{whose}",
        code="queue_full",
        retry_after_seconds=5,
    )


def out_of_memory(model: str, needed_bytes: int, usable_bytes: int, *, pinned: bool = False) -> ApiError:
    """It can never fit. usable_bytes: what there is for it when everything that may go has gone."""
    beside = " beside the pinned models" if pinned else ""
    return Unavailable(
        f"model {model!r} needs {needed_bytes / 2**30:.1f} GiB, this node has {max(0, usable_bytes) / 2**30:.1f} GiB "
        f"for it{beside}",
        code="out_of_memory",
        retry_after_seconds=3600,
    )


def held_by_others(model: str, needed_bytes: int, waited_seconds: float, holders: Mapping[str, int]) -> ApiError:
    """It has waited for memory that no eviction can free. holders: bytes by who holds them."""
    told = ", ".join(f"{holder} {held / 2**30:.1f} GiB" for holder, held in sorted(holders.items()) if held)
    return Unavailable(
        f"no room for model {model!r} within {waited_seconds:.0f} s: it needs {needed_bytes / 2**30:.1f} GiB, and of "
        f"this node's memory others hold what it would take ({told})",
        code="out_of_memory",
        retry_after_seconds=30,
    )


def no_room_for_holder(holder: str, more_bytes: int, free_bytes: int) -> ApiError:
    """more_bytes: what it asked for beyond what it holds, and goes on holding."""
    return Unavailable(
        f"holder {holder!r} asks for {more_bytes / 2**20:.0f} MiB more; {max(0, free_bytes) / 2**20:.0f} MiB are free, "
        f"and no idle model could make room in time",
        code="out_of_memory",
        retry_after_seconds=5,
    )


def too_many_holders(limit: int) -> ApiError:
    return TooManyRequests(
        f"{limit} holders of memory are known, the most there may be (CAPIBARA6_MEMORY_HOLDERS_LIMIT)",
        code="too_many_holders",
        retry_after_seconds=60,
    )


def holder_left(holder: str) -> ApiError:
    return Conflict(f"holder {holder!r} was released while it waited for more memory", code="holder_released")


def engine_unavailable(model: str, last_words: str, seconds: float) -> ApiError:
    """Its breaker is open: it failed again and again."""
    return Unavailable(
        f"model {model!r} failed several times in a row and is not tried again for {seconds:.0f} s; "
        f"its last words: {last_words}",
        code="engine_unavailable",
        retry_after_seconds=seconds,
    )


def queue_timeout(model: str, waited_seconds: float) -> ApiError:
    return Unavailable(
        f"no room for model {model!r} within {waited_seconds:.0f} s: the others are busy",
        code="queue_timeout",
        retry_after_seconds=10,
    )


def load_failed(model: str, failure: EngineFailed) -> ApiError:
    detail = f"model {model!r} could not be loaded: {failure}"
    if isinstance(failure, EngineStartTimedOut):
        return DeadlineExceeded(detail, code="load_timeout", retry_after_seconds=10)
    return UpstreamFailed(detail, code="load_failed", retry_after_seconds=5)


def engine_died(model: str, detail: str = "the model's engine ended in the middle of the answer") -> ApiError:
    return UpstreamFailed(f"model {model!r}: {detail}", code="engine_died", retry_after_seconds=1)


def server_stopping() -> ApiError:
    return Unavailable("the model server is stopping", code="server_stopping", retry_after_seconds=10)


def prompt_too_long(model: str, context_length: int, at_least: int) -> ApiError:
    """Told as OpenAI tells it."""
    return InvalidRequest(
        f"model {model!r} has a context of {context_length} tokens; the request's text has at least {at_least}",
        code="context_length_exceeded",
        param="messages",
    )


def wrong_kind_of_model(model: str, *, embeds: bool, others: Iterable[str]) -> ApiError:
    """embeds: it embeds texts and was asked to write; otherwise it writes and was asked to embed."""
    does, asked = ("embeds texts", "write") if embeds else ("writes", "embed texts")
    listed = ", ".join(others)
    return InvalidRequest(
        f"model {model!r} {does}, it does not {asked}{f'; these do: {listed}' if listed else ''}",
        code="wrong_kind_of_model",
        param="model",
    )


def no_embedding_model() -> ApiError:
    return NotFound("no model of this node embeds texts", code="no_embedding_model", param="model")
