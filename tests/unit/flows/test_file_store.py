"""Files on disk and their rows, with rows that are a dict."""

from __future__ import annotations

import hashlib
import os
import uuid
from collections.abc import AsyncIterator, Collection
from dataclasses import replace
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

    async def bytes_of(self, owner: str) -> int:
        return sum(file.size_bytes for file in self.files.values() if file.owner == owner)

    async def known(self, file_ids: Collection[uuid.UUID]) -> set[uuid.UUID]:
        return self.files.keys() & set(file_ids)


def store_of(home: Path, rows: Rows, owner_bytes: int = 100) -> FileStore:
    return FileStore(home, rows, owner_bytes=owner_bytes)


def bytes_on_disk(home: Path) -> list[Path]:
    return [path for path in home.rglob("*") if path.is_file()]


NEW = NewFile("ana", "../../a name/that leads.out", "text/plain")


async def test_a_files_path_is_made_of_its_id_alone_and_only_we_can_read_it(tmp_path: Path) -> None:
    store = store_of(tmp_path, Rows())
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
        await store_of(tmp_path, rows).save(NEW, pieces(), most_bytes=5)
    assert not rows.files and not bytes_on_disk(tmp_path)


async def test_a_file_whose_row_cannot_be_written_leaves_nothing_behind(tmp_path: Path) -> None:
    rows = Rows()
    rows.away = True
    with pytest.raises(DatabaseUnavailable):
        await store_of(tmp_path, rows).save(NEW, one_chunk(b"x"), most_bytes=5)
    assert not bytes_on_disk(tmp_path)


async def test_somebody_elses_file_is_not_there(tmp_path: Path) -> None:
    store = store_of(tmp_path, Rows())
    kept = await store.save(NEW, one_chunk(b"x"), most_bytes=5)
    for attempt in (store.find, store.remove):
        with pytest.raises(NotFound):
            await attempt(kept.id, "eva")
    await store.remove(kept.id, "ana")
    assert not bytes_on_disk(tmp_path)


async def test_a_sweep_removes_what_is_old_and_uploads_that_broke_off(tmp_path: Path) -> None:
    store = store_of(tmp_path, Rows())
    await store.save(NEW, one_chunk(b"x"), most_bytes=5)
    broken = tmp_path / "data/files/incoming/broken"
    broken.write_bytes(b"half")
    assert await store.sweep(timedelta(hours=1)) == 0 and broken.exists()
    long_ago = (datetime.now(UTC) - timedelta(days=2)).timestamp()
    os.utime(broken, (long_ago, long_ago))
    assert await store.sweep(timedelta(0)) == 1 and not bytes_on_disk(tmp_path)


async def test_an_owners_files_together_have_a_limit_that_is_told_in_its_own_words(tmp_path: Path) -> None:
    rows = Rows()
    store = store_of(tmp_path, rows, owner_bytes=10)
    await store.save(NEW, one_chunk(b"x" * 6), most_bytes=8)
    with pytest.raises(TooLarge) as refused:
        await store.save(NEW, one_chunk(b"x" * 6), most_bytes=8)
    assert refused.value.code == "owner_files_full" and "10 bytes together" in refused.value.detail
    assert len(bytes_on_disk(tmp_path)) == len(rows.files) == 1
    await store.save(replace(NEW, owner="eva"), one_chunk(b"x" * 6), most_bytes=8)


async def test_bytes_that_a_crash_left_without_a_row_are_swept(tmp_path: Path) -> None:
    rows = Rows()
    store = store_of(tmp_path, rows)
    kept, lost = [await store.save(NEW, one_chunk(b"x"), most_bytes=5) for _ in range(2)]
    stranger = tmp_path / "data/files/00/README"
    stranger.parent.mkdir(exist_ok=True)
    stranger.write_bytes(b"not ours")
    del rows.files[lost.id]
    await store.sweep(timedelta(hours=1))
    assert (tmp_path / lost.storage_path).exists()
    long_ago = (datetime.now(UTC) - timedelta(days=2)).timestamp()
    for path in bytes_on_disk(tmp_path):
        os.utime(path, (long_ago, long_ago))
    await store.sweep(timedelta(hours=1))
    assert set(bytes_on_disk(tmp_path)) == {tmp_path / kept.storage_path, stranger}


async def test_a_file_that_its_owner_removes_meanwhile_does_not_end_the_sweep(tmp_path: Path) -> None:
    class Slow(Rows):
        async def older_than(self, moment: datetime, limit: int) -> list[FileRecord]:
            old = await super().older_than(moment, limit)
            if len(old) == 2:
                await store.remove(old[0].id, old[0].owner)
            return old

    store = store_of(tmp_path, Slow())
    for _ in range(2):
        await store.save(NEW, one_chunk(b"x"), most_bytes=5)
    await store.sweep(timedelta(0))
    assert not bytes_on_disk(tmp_path)


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
