"""Watching folders with inotify itself."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from models_node.sandbox.inside.agent.inotify import MAX_EVENTS, FolderEvent, FolderWatch, Happening
from models_node.sandbox.inside.agent.uploads import PartialFile


async def events_until(watch: FolderWatch, last: FolderEvent) -> list[FolderEvent]:
    seen: list[FolderEvent] = []
    async with asyncio.timeout(10):
        while last not in seen:
            await watch.arrived.wait()
            seen.extend(watch.take()[0])
    return seen


async def test_folders_made_later_are_watched_too(tmp_path: Path) -> None:
    watch = FolderWatch(tmp_path, recursive=True)
    (tmp_path / "new").mkdir()
    await events_until(watch, FolderEvent("new", Happening.CREATE))
    (tmp_path / "new" / "file").touch()
    await events_until(watch, FolderEvent("new/file", Happening.CREATE))
    watch.close()


async def test_an_upload_looks_like_one_write(tmp_path: Path) -> None:
    watch = FolderWatch(tmp_path, recursive=False)
    file = PartialFile(tmp_path / "up")
    file.write(b"x")
    file.commit({})
    (tmp_path / "end").touch()
    seen = await events_until(watch, FolderEvent("end", Happening.CREATE))
    assert [event.happening for event in seen if event.name == "up"] == [Happening.CREATE, Happening.WRITE]
    assert {event.name for event in seen} == {"up", "end"}
    watch.close()


async def test_events_that_do_not_fit_are_said_to_be_lost(tmp_path: Path) -> None:
    watch = FolderWatch(tmp_path, recursive=False)
    for index in range(MAX_EVENTS + 1):
        (tmp_path / str(index)).touch()
    async with asyncio.timeout(10):
        while not watch._lost:  # noqa: ASYNC110 (the loop's own turn is what it waits for)
            await asyncio.sleep(0)
    events, lost = watch.take()
    assert (len(events), lost) == (MAX_EVENTS, True)
    watch.close()


def test_what_is_not_there_cannot_be_watched(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        FolderWatch(tmp_path / "none", recursive=False)
