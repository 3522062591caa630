"""`/api/hooks`: who is told of the end of one's runs."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from db.records import HookRecord, NewHook
from db.runs import KINDS
from services_node.chat_api.hooks.addresses import checked_url
from services_node.chat_api.hooks.events import hook_secret, owner_secret
from services_node.chat_api.parts import owner, parts_of
from services_node.chat_api.schemas import Line, Text, storable
from wire.errors import Conflict
from wire.ids import uuid7

router = APIRouter(prefix="/api/hooks", tags=["hooks"])

Event = Literal["run.completed", "run.failed", "run.cancelled"]


def known_kind(kind: str) -> str:
    if kind not in KINDS:
        raise ValueError(f"is no kind of run; there are {', '.join(KINDS)}")
    return kind


Kind = Annotated[Line, Field(strict=True, max_length=50), AfterValidator(known_kind)]


class HookRequest(BaseModel):
    """events: of which it is told. kinds: of runs (`chat`, `code`, `workflow`, …); all where none are named."""

    model_config = ConfigDict(extra="ignore")

    url: Annotated[Text, AfterValidator(storable)]
    events: Annotated[list[Event], Field(min_length=1, max_length=3)]
    kinds: Annotated[list[Kind], Field(min_length=1, max_length=50)] | None = None
    description: Annotated[Line, Field(strict=True, max_length=200)] | None = None


class HookOut(BaseModel):
    """pending: events that wait for it. state: `failing` from a try that failed to one that didn't."""

    id: uuid.UUID
    url: str
    events: list[str]
    kinds: list[str] | None
    description: str | None
    created_at: datetime
    pending: int
    state: Literal["active", "failing"]
    last_error: str | None
    next_attempt_at: datetime | None

    @classmethod
    def of(cls, hook: HookRecord) -> HookOut:
        known = {name: getattr(hook, name) for name in cls.model_fields if name != "state"}
        return cls(**known, state="failing" if hook.failures else "active")


class NewHookOut(BaseModel):
    """secret: told here alone. What is sent is signed with it."""

    id: uuid.UUID
    url: str
    events: list[str]
    kinds: list[str] | None
    description: str | None
    secret: str
    created_at: datetime


class HookList(BaseModel):
    hooks: list[HookOut]


@router.post("", status_code=201)
async def subscribe(asked: HookRequest, request: Request) -> NewHookOut:
    """From now on, the end of each of your runs is POSTed there, signed as https://www.standardwebhooks.com says."""
    parts = parts_of(request)
    url = await checked_url(asked.url, "url", parts.topology)
    events = tuple(dict.fromkeys(asked.events))
    kinds = None if asked.kinds is None else tuple(dict.fromkeys(asked.kinds))
    hook = NewHook(uuid7(), owner(), url, events, kinds, asked.description)
    most = parts.settings.hooks_limit
    if not await parts.hooks.add(hook, most=most):
        raise Conflict(f"You have {most} hooks already (CAPIBARA6_HOOKS_LIMIT). Remove one.", code="too_many_hooks")
    parts.delivering.expect()
    return NewHookOut(
        id=hook.id,
        url=url,
        events=list(events),
        kinds=None if kinds is None else list(kinds),
        description=hook.description,
        secret=hook_secret(parts.secrets, hook.id),
        created_at=datetime.now(UTC),
    )


@router.get("")
async def hooks(request: Request) -> HookList:
    """Your hooks, oldest first, without their secrets."""
    return HookList(hooks=[HookOut.of(hook) for hook in await parts_of(request).hooks.of(owner())])


@router.get("/secret")
async def secret(request: Request) -> dict[str, Any]:
    """The secret by which your callbacks are signed."""
    return {"secret": owner_secret(parts_of(request).secrets, owner())}


@router.get("/{hook_id}")
async def hook(hook_id: uuid.UUID, request: Request) -> HookOut:
    return HookOut.of(await parts_of(request).hooks.get(hook_id, owner()))


@router.delete("/{hook_id}", status_code=204)
async def unsubscribe(hook_id: uuid.UUID, request: Request) -> None:
    """What still waits for it is not sent any more."""
    await parts_of(request).hooks.remove(hook_id, owner())
