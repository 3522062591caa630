"""Names that OpenAI's clients give back to us: of responses, conversations and tool calls. Pure.

A response is a run. A call's name says which run asked for it, so that a client which keeps everything itself comes
back with its result to the conversation that the call was made in.
"""

from __future__ import annotations

import re
import uuid

from wire.errors import NotFound, ValidationFailed

_HEX = re.compile(r"[0-9a-f]{32}")
_CALL = re.compile(r"call_([0-9a-f]{32})_(.{1,200})", re.DOTALL)


def response_id(run_id: uuid.UUID) -> str:
    return f"resp_{run_id.hex}"


def completion_id(run_id: uuid.UUID) -> str:
    return f"chatcmpl-{run_id.hex}"


def conversation_name(conversation_id: uuid.UUID) -> str:
    return f"conv_{conversation_id.hex}"


def run_of(name: str, param: str) -> uuid.UUID:
    """The run that a response's id names. Raises NotFound: no such response was ever given."""
    prefix, _, rest = name.partition("_")
    if prefix != "resp" or not _HEX.fullmatch(rest):
        raise no_response(name, param)
    return uuid.UUID(rest)


def no_response(name: str, param: str) -> NotFound:
    code = "previous_response_not_found" if param == "previous_response_id" else "response_not_found"
    return NotFound(f"No response {name[:100]!r}; it may have been deleted, or not stored.", code=code, param=param)


def read_conversation(name: str, param: str) -> uuid.UUID:
    """A conversation's id, as this door or `/api/conversations` writes it. Raises ValidationFailed."""
    try:
        return uuid.UUID(name.removeprefix("conv_"))
    except ValueError:
        detail = f"`{param}` is no conversation's id: {name[:100]!r}."
        raise ValidationFailed(detail, param=param, code="invalid_conversation_id") from None


def given_call(run_id: uuid.UUID, call_id: str) -> str:
    """A call's id as the client gets it."""
    return f"call_{run_id.hex}_{call_id}"


def read_call(name: str) -> tuple[uuid.UUID | None, str]:
    """The run that asked for the call, where its id says so, and the id that the model knows it by."""
    found = _CALL.fullmatch(name)
    return (uuid.UUID(found[1]), found[2]) if found else (None, name)
