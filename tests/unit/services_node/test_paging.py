"""Cursors."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta, timezone

import pytest

from services_node.chat_api.paging import decode_cursor, encode_cursor, page
from wire.errors import ValidationFailed


def test_a_cursor_comes_back_as_it_was() -> None:
    place = (datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC), uuid.uuid4())
    assert decode_cursor(encode_cursor(place)) == place
    assert decode_cursor(None) is None


BEFORE_TIME = encode_cursor((datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14))), uuid.uuid4()))


@pytest.mark.parametrize("word", ["x", "nonsense", "AAAA", "ñ", "MjAyNnx4", BEFORE_TIME])
def test_a_word_that_is_no_cursor_names_the_field(word: str) -> None:
    with pytest.raises(ValidationFailed) as error:
        decode_cursor(word)
    assert error.value.param == "cursor"


def test_the_last_page_has_no_next() -> None:
    def place(number: int) -> tuple[datetime, uuid.UUID]:
        return datetime(2026, 1, number, tzinfo=UTC), uuid.UUID(int=number)

    shown, following = page([3, 2, 1], 2, place)
    assert shown == [3, 2] and decode_cursor(following) == place(2)
    assert page([1], 2, place) == ([1], None)
