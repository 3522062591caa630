"""Lists of sandboxes: filters and pages. Pure code."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import parse_qsl, unquote

from models_node.sandbox.gateway.records import Sandbox
from models_node.sandbox.gateway.shapes import wall
from wire.errors import InvalidRequest

PAGE = 100
TOKEN_CHARS = 128  # of a nextToken; this gateway's have fewer
STATES = frozenset({"running", "paused"})


@dataclass(frozen=True, slots=True)
class Query:
    """metadata: every pair must be there. states: empty means all. after: where the page before ended."""

    metadata: dict[str, str]
    states: frozenset[str]
    started_after: datetime | None
    template: str | None
    limit: int
    ascending: bool
    after: tuple[float, str] | None


def read_query(
    *,
    metadata: str | None = None,
    state: list[str] | None = None,
    started_after: str | None = None,
    template: str | None = None,
    limit: str | None = None,
    order: str | None = None,
    next_token: str | None = None,
) -> Query:
    """A list request's parameters, as they come. Raises InvalidRequest that names the wrong one."""
    states = frozenset(name for entry in state or () for name in entry.split(",") if name)
    if states - STATES:
        raise InvalidRequest("state: running or paused.", param="state")
    if limit is not None and not (
        limit.isascii() and limit.isdecimal() and len(limit) <= 3 and 1 <= int(limit) <= PAGE
    ):
        raise InvalidRequest(f"limit: 1 to {PAGE}.", param="limit")
    if order not in (None, "asc", "desc"):
        raise InvalidRequest("order: asc or desc.", param="order")
    return Query(
        # Each name and value is quoted once by itself, and the whole as a form.
        metadata={unquote(name): unquote(value) for name, value in parse_qsl(metadata or "", keep_blank_values=True)},
        states=states,
        started_after=_moment(started_after) if started_after else None,
        template=template,
        limit=int(limit) if limit else PAGE,
        ascending=order == "asc",
        after=_position(next_token) if next_token else None,
    )


def page(sandboxes: Iterable[Sandbox], query: Query) -> tuple[list[Sandbox], str | None]:
    """The sandboxes of one page, newest first unless asked otherwise, and the token of the next, None at the end."""
    found = sorted((s for s in sandboxes if _fits(s, query)), key=_key, reverse=not query.ascending)
    if query.after is not None:
        after = query.after
        found = [s for s in found if (_key(s) > after if query.ascending else _key(s) < after)]
    here = found[: query.limit]
    return here, token(here[-1]) if len(found) > len(here) else None


def token(last: Sandbox) -> str:
    return base64.urlsafe_b64encode(json.dumps(_key(last)).encode()).decode().rstrip("=")


def _key(sandbox: Sandbox) -> tuple[float, str]:
    return sandbox.started_at, sandbox.id


def _fits(sandbox: Sandbox, query: Query) -> bool:
    claim = sandbox.claim
    if claim is None or (query.states and "running" not in query.states):
        return False
    if query.started_after is not None and wall(sandbox.started_at) <= query.started_after:
        return False
    if query.template is not None and claim.template != query.template:
        return False
    return all(claim.metadata.get(name) == value for name, value in query.metadata.items())


def _position(next_token: str) -> tuple[float, str]:
    try:
        if len(next_token) > TOKEN_CHARS:
            raise ValueError
        at, sandbox_id = json.loads(base64.urlsafe_b64decode(next_token + "=" * (-len(next_token) % 4)))
        return float(at), str(sandbox_id)
    except (ValueError, TypeError):
        raise InvalidRequest("nextToken: not one of this gateway's.", param="nextToken") from None


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.astimezone()
    except (ValueError, OverflowError):
        raise InvalidRequest("startedAfter: not a time.", param="startedAfter") from None
