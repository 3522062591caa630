"""The flow `chat-batch`: questions of a JSON Lines or CSV file, or sent as they are, asked later by another process."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field, field_validator

from db.runs import CHAT_BATCH
from db.tables import OPEN_STATUSES
from flows.chat_asked import ASKED, Asked, written_asked
from flows.file_store import NewFile, one_chunk
from flows.item_files import (
    LONGEST_ID,
    LONGEST_MODEL,
    MOST_MESSAGES,
    MOST_TEMPERATURE,
    MOST_TOKENS,
    Form,
    Line,
    Question,
    Unreadable,
    WrongLine,
    form_of,
    item_of,
    read_items,
    result_told,
    wrong_words,
)
from services_node.chat_api.batches import ASK_SECONDS
from services_node.chat_api.parts import Parts, owner, parts_of
from services_node.chat_api.prepared import Prepared
from services_node.chat_api.provenance import labels
from services_node.chat_api.schemas import MessageIn, Number, Text, Whole, storable
from wire.context import current
from wire.errors import TooLarge, ValidationFailed

router = APIRouter(prefix="/api/runs", tags=["runs"])


class ItemIn(BaseModel):
    """One question: exactly one of `message`, `messages`. id: what its asker calls it."""

    model_config = ConfigDict(extra="ignore")

    id: Annotated[str, Field(max_length=LONGEST_ID)] | int | None = None
    message: Text | None = None
    messages: Annotated[list[MessageIn], Field(min_length=1, max_length=MOST_MESSAGES)] | None = None
    model: Annotated[str, Field(strict=True, max_length=LONGEST_MODEL)] | None = None
    max_tokens: Annotated[Whole, Field(ge=1, le=MOST_TOKENS)] | None = None
    temperature: Annotated[Number, Field(ge=0, le=MOST_TEMPERATURE)] | None = None

    _storable = field_validator("message")(lambda text: text if text is None else storable(text))


class ItemBatchRequest(BaseModel):
    """Exactly one of: `file_id`, an uploaded file of items (JSON Lines, or CSV with a head line); `items`. model,
    max_tokens, temperature: for items that have none of their own.
    """

    model_config = ConfigDict(extra="ignore")

    file_id: uuid.UUID | None = None
    items: Annotated[list[ItemIn], Field(min_length=1)] | None = None
    model: Annotated[str, Field(strict=True, min_length=1, max_length=LONGEST_MODEL)] = "auto"
    max_tokens: Annotated[Whole, Field(ge=1, le=MOST_TOKENS)] | None = None
    temperature: Annotated[Number, Field(ge=0, le=MOST_TEMPERATURE)] | None = None


async def prepare_item_batch(parts: Parts, asked: ItemBatchRequest) -> Prepared:
    """Reads the items. Raises ValidationFailed, NotFound, TooLarge."""
    context = current()
    run_id, owner_, tags = context.run_id, context.principal.name, labels()
    if (asked.file_id is None) == (asked.items is None):
        raise ValidationFailed("Give `file_id` or `items`, and not both.", code="missing_field", param="file_id")
    title, form, lines = "items", None, _sent(parts, asked.items or [])
    if asked.file_id is not None:
        title, form, lines = await _in_file(parts, asked.file_id, owner_)
    data = written_asked(Asked(title, form, tuple(lines), asked.model, asked.max_tokens, asked.temperature))

    async def hand_on() -> None:
        new = NewFile(owner_, ASKED, "application/json", run_id)
        await parts.files.save(new, one_chunk(data), most_bytes=len(data))
        deployment = f"{CHAT_BATCH}/{CHAT_BATCH}"
        flow_run_id = await parts.flows.ask(
            lambda api: api.schedule_batch(deployment, run_id, labels=tags), ASK_SECONDS
        )
        await parts.runs.link_flow(run_id, flow_run_id, recorded=False)

    return Prepared(hand_on)


def _sent(parts: Parts, items: Sequence[ItemIn]) -> list[Line]:
    """Items of the request itself: one that is wrong is refused with the request."""
    _check_count(parts, len(items), "items")
    lines = []
    for place, item in enumerate(items):
        line = item_of(item.model_dump(), place + 1, longest_chars=parts.settings.max_message_chars)
        if isinstance(line, WrongLine):
            raise ValidationFailed(f"The item {line.reason}.", param=f"items.{place}", code="wrong_item")
        lines.append(line)
    return list(lines)


async def _in_file(parts: Parts, file_id: uuid.UUID, owner_: str) -> tuple[str, Form, list[Line]]:
    settings = parts.settings
    record, path = await parts.files.find(file_id, owner_)
    if record.size_bytes > settings.chat_batch_bytes:
        raise TooLarge(
            f"{record.name!r} has {record.size_bytes} bytes; a file of items has at most {settings.chat_batch_bytes} "
            "(CAPIBARA6_CHAT_BATCH_BYTES).",
            code="file_too_large",
            param="file_id",
        )
    form, lines = await asyncio.to_thread(_read, path.read_bytes, record.name, settings.max_message_chars)
    _check_count(parts, len(lines), "file_id")
    wrong = [line for line in lines if isinstance(line, WrongLine)]
    if not any(isinstance(line, Question) for line in lines):
        words = wrong_words(wrong) or "it has no line"
        raise ValidationFailed(
            f"There is no item in {record.name!r} that can be asked: {words}.", code="no_items", param="file_id"
        )
    return record.name, form, lines


def _read(read_bytes: Any, name: str, longest_chars: int) -> tuple[Form, list[Line]]:
    data = read_bytes()
    form = form_of(name, data)
    try:
        return form, list(read_items(data, form, longest_chars=longest_chars))
    except Unreadable as error:
        raise ValidationFailed(
            f"{name!r} cannot be read as {form}: {error}", code="unreadable_items", param="file_id"
        ) from None


def _check_count(parts: Parts, count: int, param: str) -> None:
    most = parts.settings.chat_batch_items
    if count > most:
        raise ValidationFailed(
            f"A batch has at most {most} items (CAPIBARA6_CHAT_BATCH_ITEMS), and these are {count}.",
            param=param,
            code="too_many_items",
        )


@router.get("/{run_id}/items")
async def items(
    run_id: uuid.UUID,
    request: Request,
    *,
    after: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> dict[str, Any]:
    """A batch's items with what came of each so far, in order; those after a line. `next_after`: null at the end."""
    parts = parts_of(request)
    run = await parts.runs.get(run_id, owner())
    counts = await parts.batch_items.counts(run.id)
    found = await parts.batch_items.of(run.id, after=after, limit=limit + 1)
    shown = [result_told(item) for item in found[:limit]]
    if run.status not in OPEN_STATUSES:  # nobody asks what is left of a batch that was cut off
        for one in shown:
            one["status"] = "cancelled" if one["status"] in OPEN_STATUSES else one["status"]
    return {
        "items": shown,
        "completed": counts.completed,
        "failed": counts.failed,
        "total": counts.of,
        "next_after": shown[-1]["line"] if len(found) > limit else None,
    }
