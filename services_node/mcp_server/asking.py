"""What the chat API says, in words for the model that called a tool."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from services_node.mcp_server.errors import ToolFailed, UnknownResource
from wire.errors import ApiError, NotFound, ValidationFailed


@contextmanager
def asking(what: str) -> Iterator[None]:
    """Turns the chat API's errors into ToolFailed. what: the thing asked for, as a reason names it."""
    try:
        yield
    except NotFound:
        raise ToolFailed(f"There is no {what} among yours.") from None
    except ApiError as error:
        raise ToolFailed(told(error)) from None


@contextmanager
def reading(what: str) -> Iterator[None]:
    """The same for a resource: what is not there (or not the caller's) is an UnknownResource."""
    try:
        yield
    except NotFound:
        raise UnknownResource(f"There is no {what} among yours.") from None
    except ApiError as error:
        raise ToolFailed(told(error)) from None


def told(error: ApiError) -> str:
    """What happened, and whether asking again may help."""
    if error.status in (429, 503):
        return f"{error.detail} Try again later, or answer without it."
    if isinstance(error, ValidationFailed) and error.param:
        return f"`{error.param}`: {error.detail}"
    return error.detail


def an_id(text: str, what: str) -> uuid.UUID:
    """Raises UnknownResource for text that is no id: nothing has it."""
    try:
        return uuid.UUID(text)
    except ValueError:
        raise UnknownResource(f"There is no {what} `{text[:100]}`.") from None
