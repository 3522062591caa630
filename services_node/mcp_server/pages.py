"""Pages of lists: opaque cursors that stay right when entries come and go."""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from services_node.mcp_server.errors import BadCursor
from services_node.mcp_server.registry import Call, Registry, ResourceEntry

log = logging.getLogger("services_node.mcp_server")

Entry = TypeVar("Entry")
CURSOR_CHARS = 2000


def named_page(entries: Mapping[str, Entry], cursor: str | None, items: int) -> tuple[list[Entry], str | None]:
    """Entries in the order of their names, those after the cursor's, and the cursor of the next page.

    Raises BadCursor for one that this server did not give.
    """
    after = _decode(cursor, str) if cursor is not None else None
    names = sorted(name for name in entries if after is None or name > after)
    shown = names[:items]
    return [entries[name] for name in shown], _encode(shown[-1]) if len(names) > items else None


async def resource_page(
    registry: Registry, call: Call, cursor: str | None, seconds: float
) -> tuple[Sequence[ResourceEntry], str | None]:
    """The plain resources first, then each template's own list, a page of it at a time.

    A list that can't be had in `seconds` (its service is away) is passed over: the rest is still worth seeing. Raises
    BadCursor.
    """
    listers = [(one.uri, one.lister) for one in registry.resources.values() if one.lister is not None]
    if cursor is None:
        plain = [
            ResourceEntry(resource.uri, resource.name, resource.title, resource.description, resource.mime_type)
            for resource in registry.resources.values()
            if not resource.variables
        ]
        return plain, _encode([0, None]) if listers else None
    match _decode(cursor, list):
        case [int() as index, (None | str()) as inner] if 0 <= index < len(listers):
            pass
        case _:
            raise BadCursor("The cursor is not one that this server gave.")
    entries: Sequence[ResourceEntry] = ()
    following: str | None = None
    uri, lister = listers[index]
    try:
        async with asyncio.timeout(seconds):
            page = await lister(call, inner)
    except Exception as error:
        log.warning("resources could not be listed", extra={"resource": uri, "reason": str(error)})
    else:
        entries, following = page.entries, page.next_cursor
    if following is not None:
        return entries, _encode([index, following])
    return entries, _encode([index + 1, None]) if index + 1 < len(listers) else None


def _encode(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()


def _decode(cursor: str, kind: type) -> Any:
    try:
        value = json.loads(base64.urlsafe_b64decode(cursor[:CURSOR_CHARS].encode()))
    except (ValueError, binascii.Error, RecursionError):
        value = None
    if not isinstance(value, kind):
        raise BadCursor("The cursor is not one that this server gave.")
    return value
