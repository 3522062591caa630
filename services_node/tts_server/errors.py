"""Every error of this service that a caller is told, made in one place. Raised, they leave in OpenAI's shape."""

from __future__ import annotations

from collections.abc import Collection

from services_node.tts_server.engines.contract import Crashed, Damaged, EngineError, EngineInfo, Missing, Refused
from wire.errors import (
    ApiError,
    DeadlineExceeded,
    InvalidRequest,
    NotFound,
    TooManyRequests,
    Unavailable,
    UpstreamFailed,
)

_SHOWN_CHARS = 80  # of what the caller sent
_LISTED = 80  # names in one message


def _shown(value: str) -> str:
    return repr(value if len(value) <= _SHOWN_CHARS else value[:_SHOWN_CHARS] + "…")


def _listed(names: Collection[str]) -> str:
    known = list(names)
    more = f" and {len(known) - _LISTED} more" if len(known) > _LISTED else ""
    return ", ".join(known[:_LISTED]) + more


# What was asked for


def nothing_to_say(param: str = "input") -> ApiError:
    return InvalidRequest(
        f"`{param}` has nothing that can be spoken: send words or numbers in Spanish or English.",
        code="nothing_to_say",
        param=param,
    )


def input_too_long(chars: int, most: int, param: str = "input") -> ApiError:
    return InvalidRequest(
        f"`{param}` has {chars} characters, at most {most} are spoken at once (CAPIBARA6_TTS_INPUT_CHARS): "
        "cut it into parts.",
        code="input_too_long",
        param=param,
    )


def unknown_engine(name: str, known: Collection[str]) -> ApiError:
    return InvalidRequest(
        f"There is no speech model {_shown(name)}; there are: {_listed(known)}.", code="unknown_model", param="model"
    )


def unknown_format(name: str, known: Collection[str]) -> ApiError:
    return InvalidRequest(
        f"There is no response format {_shown(name)}; there are: {_listed(known)}.",
        code="unknown_format",
        param="response_format",
    )


def unknown_stream_format(name: str) -> ApiError:
    return InvalidRequest(
        f"There is no stream format {_shown(name)}; there are: audio, sse.",
        code="unknown_stream_format",
        param="stream_format",
    )


def unknown_language(name: str, engine: EngineInfo) -> ApiError:
    return InvalidRequest(
        f"{engine.name} does not speak {_shown(name)}; it speaks: {_listed(engine.languages)}. "
        "Without `language` it is told from each sentence.",
        code="unknown_language",
        param="language",
    )


def language_not_spoken(sentence: str, language: str, engine: EngineInfo) -> ApiError:
    return InvalidRequest(
        f"{engine.name} speaks {_listed(engine.languages)}, and {_shown(sentence)} reads as {language}: choose another "
        "`model`, or say in `language` what it is.",
        code="language_not_spoken",
        param="input",
    )


def unknown_voice(name: str, engine: str, known: Collection[str], param: str = "voice") -> ApiError:
    there = f"; there are: {_listed(known)}" if known else ""
    return InvalidRequest(f"{engine} has no voice {_shown(name)}{there}.", code="unknown_voice", param=param)


def malformed_mix(text: str, fault: str) -> ApiError:
    return InvalidRequest(
        f"The voice {_shown(text)} is no mix: {fault}. Write `a(2)+b(1)`.", code="malformed_voice", param="voice"
    )


def voices_not_mixed(engine: str) -> ApiError:
    return InvalidRequest(f"{engine} cannot mix voices: name one.", code="voices_not_mixed", param="voice")


def speed_out_of_range(speed: float, slowest: float, fastest: float) -> ApiError:
    return InvalidRequest(
        f"`speed` is {speed:g}; it is from {slowest:g} to {fastest:g}.", code="speed_out_of_range", param="speed"
    )


def speed_unsupported(speed: float, engine: EngineInfo) -> ApiError:
    slowest, fastest = engine.speeds
    return InvalidRequest(
        f"{engine.name} speaks at speeds from {slowest:g} to {fastest:g}, not {speed:g}.",
        code="speed_unsupported",
        param="speed",
    )


# Room


def queue_full(waiting: int, retry_after_seconds: float) -> ApiError:
    return TooManyRequests(
        f"{waiting} requests are waiting to be spoken, as many as may (CAPIBARA6_TTS_QUEUE).",
        code="queue_full",
        retry_after_seconds=retry_after_seconds,
    )


def queue_wait_over(seconds: float, retry_after_seconds: float) -> ApiError:
    return Unavailable(
        f"It was not this request's turn within {seconds:g} s (CAPIBARA6_TTS_QUEUE_SECONDS).",
        code="queue_wait_over",
        retry_after_seconds=retry_after_seconds,
    )


# What an engine came to


def engine_silent(engine: str, seconds: float) -> ApiError:
    return DeadlineExceeded(
        f"{engine} gave nothing for {seconds:g} s (CAPIBARA6_TTS_ENGINE_SILENCE_SECONDS).", code="engine_silent"
    )


def request_too_long(seconds: float) -> ApiError:
    return DeadlineExceeded(
        f"It was not spoken and fetched within {seconds:g} s (CAPIBARA6_TTS_REQUEST_SECONDS).", code="request_too_long"
    )


def of_engine(error: EngineError, engine: str) -> ApiError:
    """What an engine raised, as a caller is told it. No other engine takes its place."""
    match error:
        case Missing(detail=detail, mend=mend):
            told = f"{detail.rstrip('.')}: {mend}" if mend else detail
            return NotFound(f"{engine} is not installed: {told}", code="engine_not_installed", param="model")
        case Damaged(detail=detail, mend=mend):
            told = f"{detail.rstrip('.')}: {mend}" if mend else detail
            return UpstreamFailed(f"{engine} cannot be used: {told}", code="engine_damaged")
        case Refused(detail=detail):
            return InvalidRequest(f"{engine} cannot speak this: {detail}", code="not_speakable", param="input")
        case Crashed(detail=detail):
            return UpstreamFailed(f"{engine} failed while it spoke: {detail}", code="engine_crashed")
    return UpstreamFailed(f"{engine} failed: {error.detail}", code="engine_failed")
