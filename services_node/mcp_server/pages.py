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
    registry: Registry, call: Call, cursor: str | None, items: int, seconds: float
) -> tuple[Sequence[ResourceEntry], str | None]:
    """The plain resources first, then each template's own list, until there are `items` or more; what a list gives at
    once stays together.

    What can't be had in `seconds` (its service is away) is passed over: the rest is still worth seeing. A page takes no
    longer, and goes on with the next. Raises BadCursor.
    """
    listers = [(one.uri, one.lister) for one in registry.resources.values() if one.lister is not None]
    entries, (index, inner) = list[ResourceEntry](), _place(cursor, len(listers))
    if cursor is None:
        entries += [
            ResourceEntry(resource.uri, resource.name, resource.title, resource.description, resource.mime_type)
            for resource in registry.resources.values()
            if not resource.variables
        ]
    loop, first = asyncio.get_running_loop(), (index, inner)
    until = loop.time() + seconds
    while index < len(listers) and len(entries) < items and loop.time() < until:
        uri, lister = listers[index]
        try:
            async with asyncio.timeout_at(until):
                page = await lister(call, inner)
        except Exception as error:
            if isinstance(error, TimeoutError) and (index, inner) != first:
                break  # those before it took the time; the next page begins with it, and has all of its own
            log.warning("resources could not be listed", extra={"resource": uri, "reason": str(error)})
            index, inner = index + 1, None
        else:
            entries += page.entries
            index, inner = (index, page.next_cursor) if page.next_cursor is not None else (index + 1, None)
    return entries, _encode([index, inner]) if index < len(listers) else None


def _place(cursor: str | None, listers: int) -> tuple[int, str | None]:
    """Which list a page begins in, and where in that. Raises BadCursor."""
    match _decode(cursor, list) if cursor is not None else [0, None]:
        case [int() as index, (None | str()) as inner] if 0 <= index < max(1, listers):
            return index, inner
    raise BadCursor("The cursor is not one that this server gave.")


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
