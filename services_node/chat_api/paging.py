"""Cursors: where a page ended, as one opaque word."""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TypeVar

from wire.errors import ValidationFailed

T = TypeVar("T")
Place = tuple[datetime, uuid.UUID]
FIRST_YEAR, LAST_YEAR = 1970, 9000


def encode_cursor(place: Place) -> str:
    return base64.urlsafe_b64encode(f"{place[0].isoformat()}|{place[1]}".encode()).decode().rstrip("=")


def decode_cursor(cursor: str | None) -> Place | None:
    """Raises ValidationFailed for a word that isn't one of ours."""
    if not cursor:
        return None
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        moment, _, item = text.partition("|")
        place = datetime.fromisoformat(moment), uuid.UUID(item)
    except (ValueError, binascii.Error, UnicodeDecodeError):
        place = None
    if place is None or not within(place[0]):
        raise ValidationFailed("`cursor` is not one that this API gave.", param="cursor", code="invalid_cursor")
    return place


def page(found: Sequence[T], limit: int, place: Callable[[T], Place]) -> tuple[list[T], str | None]:
    """`found` was asked for with one more than `limit`: the page, and the cursor of the next one if there is one."""
    shown = list(found[:limit])
    return shown, encode_cursor(place(shown[-1])) if len(found) > limit else None


def within(moment: datetime) -> bool:
    """Whether Postgres can be asked with it: a moment of some time zone, away from the ends of Python's calendar."""
    return moment.tzinfo is not None and FIRST_YEAR <= moment.year <= LAST_YEAR
