"""Files on disk and their rows, with rows that are a dict."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from db.errors import DatabaseUnavailable
from db.files import no_file
from db.records import FileRecord
from flows.file_store import FileStore, NewFile, media_type_of, one_chunk
from wire.errors import NotFound, TooLarge


class Rows:
    def __init__(self) -> None:
        self.files: dict[uuid.UUID, FileRecord] = {}
        self.away = False

    async def add(self, file: FileRecord) -> None:
        if self.away:
            raise DatabaseUnavailable
        self.files[file.id] = file

    async def get(self, file_id: uuid.UUID, owner: str) -> FileRecord:
        if file_id not in self.files or self.files[file_id].owner != owner:
            raise no_file(file_id)
        return self.files[file_id]

    async def remove(self, file_id: uuid.UUID, owner: str) -> FileRecord:
        await self.get(file_id, owner)
        return self.files.pop(file_id)

    async def older_than(self, moment: datetime, limit: int) -> list[FileRecord]:
        return [file for file in self.files.values() if file.created_at < moment][:limit]


def bytes_on_disk(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.is_file()]


NEW = NewFile("ana", "../../a name/that leads.out", "text/plain")


async def test_a_files_path_is_made_of_its_id_alone_and_only_we_can_read_it(tmp_path: Path) -> None:
    store = FileStore(tmp_path, Rows())
    kept = await store.save(NEW, one_chunk(b"hola"), most_bytes=4)
    record, path = await store.find(kept.id, "ana")
    assert path.read_bytes() == b"hola" and path.name == str(kept.id) and path.is_relative_to(tmp_path / "data/files")
    assert path.stat().st_mode & 0o777 == 0o600
    assert record.sha256 == hashlib.sha256(b"hola").hexdigest() and record.size_bytes == 4


async def test_a_file_that_is_too_large_leaves_nothing_behind(tmp_path: Path) -> None:
    rows = Rows()

    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield b"xx"

    with pytest.raises(TooLarge):
        await FileStore(tmp_path, rows).save(NEW, pieces(), most_bytes=5)
    assert not rows.files and not bytes_on_disk(tmp_path)


async def test_a_file_whose_row_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    rows = Rows()
    rows.away = True
    with pytest.raises(DatabaseUnavailable):
        await FileStore(tmp_path, rows).save(NEW, one_chunk(b"x"), most_bytes=5)
    assert not bytes_on_disk(tmp_path)


async def test_somebody_elses_file_is_not_there(tmp_path: Path) -> None:
    store = FileStore(tmp_path, Rows())
    kept = await store.save(NEW, one_chunk(b"x"), most_bytes=5)
    for attempt in (store.find, store.remove):
        with pytest.raises(NotFound):
            await attempt(kept.id, "eva")
    await store.remove(kept.id, "ana")
    assert not bytes_on_disk(tmp_path)


async def test_a_sweep_removes_what_is_old_and_uploads_that_broke_off(tmp_path: Path) -> None:
    store = FileStore(tmp_path, Rows())
    await store.save(NEW, one_chunk(b"x"), most_bytes=5)
    broken = tmp_path / "data/files/incoming/broken"
    broken.write_bytes(b"half")
    assert await store.sweep(timedelta(hours=1)) == 0 and broken.exists()
    long_ago = (datetime.now(UTC) - timedelta(days=2)).timestamp()
    os.utime(broken, (long_ago, long_ago))
    assert await store.sweep(timedelta(0)) == 1 and not bytes_on_disk(tmp_path)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.png", "image/png"),
        ("a.CSV", "text/csv"),
        ("a.md", "text/markdown"),
        ("a", "application/octet-stream"),
        ("a.weird", "application/octet-stream"),
    ],
)
def test_a_type_is_told_by_the_names_ending(name: str, expected: str) -> None:
    assert media_type_of(name) == expected
