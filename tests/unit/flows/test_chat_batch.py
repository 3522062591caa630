"""A batch of questions in its own process, with its rows and models faked and without Prefect."""

from __future__ import annotations

import asyncio

import pytest

from db.batch_items import ItemCounts
from flows.chat_asked import Asked
from flows.chat_batch import new_items, parts_of, percent_of, together, words_of
from flows.item_files import Question, WrongLine


def test_wrong_lines_have_failed_before_anything_is_asked_and_all_are_in_order() -> None:
    said = ({"role": "user", "content": "a"},)
    asked = Asked("t", "jsonl", (WrongLine(1, "no"), Question(2, "x", said), WrongLine(4, "no", "y")))
    assert [(item.number, item.name, item.status) for item in new_items(asked)] == [
        (1, None, "failed"), (2, "x", "queued"), (4, "y", "failed"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("count", "parts", "largest"), [(0, 0, 0), (1, 1, 1), (25, 3, 10), (500, 20, 25), (2001, 20, 101)]
)
def test_there_are_few_parts_however_many_items(count: int, parts: int, largest: int) -> None:
    made = parts_of(range(1, count + 1), 2)
    assert len(made) == parts and max(map(len, made), default=0) == largest
    assert [number for part in made for number in part] == list(range(1, count + 1))


def test_progress_is_told_in_words() -> None:
    assert words_of(ItemCounts(3, 1, 8)) == "4 of 8 items, 1 of them failed" and percent_of(ItemCounts(3, 1, 8)) == 50
    assert percent_of(ItemCounts(0, 0, 0)) == 0


async def test_the_first_error_ends_the_others_and_is_raised_as_it_is() -> None:
    ended: list[str] = []

    async def waits() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append("waits")

    async def breaks() -> None:
        await asyncio.sleep(0)
        raise LookupError

    with pytest.raises(LookupError):
        await together([waits(), breaks()])
    assert ended == ["waits"]
