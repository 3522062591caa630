"""Files on this node's disk, each with a row: uploads, and what runs made.

A path is made of the file's id alone, never of a name somebody chose. Bytes are written under a temporary name first,
readable by the stack's user only, so that a row never points at half a file.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import mimetypes
import os
import uuid
from collections.abc import AsyncIterator, Collection, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Protocol

from db.files import no_file
from db.records import FileRecord
from flows.audio import FORMS
from flows.errors import file_too_large, owner_files_full
from wire.errors import NotFound
from wire.ids import uuid7

log = logging.getLogger("flows.file_store")

FOLDER = Path("data") / "files"
SWEEP_BATCH = 200
# Python's own table, not the machine's: a name means the same type everywhere.
_TYPES = mimetypes.MimeTypes(filenames=())
_TYPES.add_type("text/markdown", ".md")
_TYPES.add_type("image/webp", ".webp")
for _form in FORMS.values():
    _TYPES.add_type(_form.media_type, f".{_form.ending}")


class FileRows(Protocol):
    """`db.files.Files`."""

    async def add(self, file: FileRecord) -> None: ...

    async def get(self, file_id: uuid.UUID, owner: str) -> FileRecord: ...

    async def remove(self, file_id: uuid.UUID, owner: str) -> FileRecord: ...

    async def older_than(self, moment: datetime, limit: int) -> list[FileRecord]: ...

    async def bytes_of(self, owner: str) -> int: ...

    async def known(self, file_ids: Collection[uuid.UUID]) -> set[uuid.UUID]: ...


@dataclass(frozen=True, slots=True)
class NewFile:
    owner: str
    name: str
    media_type: str
    run_id: uuid.UUID | None = None
    conversation_id: uuid.UUID | None = None


def media_type_of(name: str) -> str:
    """By the name's ending; the bytes are not looked at."""
    return _TYPES.guess_type(name, strict=False)[0] or "application/octet-stream"


async def one_chunk(data: bytes) -> AsyncIterator[bytes]:
    yield data


class FileStore:
    """home: the stack's; files live in `data/files` below it. owner_bytes: what one owner's files may have together.

    Files that are written at the same time do not see each other, so an owner may get beyond that by what is under way.
    """

    def __init__(self, home: Path, rows: FileRows, *, owner_bytes: int) -> None:
        self._home = home
        self._rows = rows
        self._owner_bytes = owner_bytes

    async def save(self, file: NewFile, chunks: AsyncIterator[bytes], *, most_bytes: int) -> FileRecord:
        """Keeps the bytes and their row. Raises TooLarge beyond `most_bytes`, or what the owner has left, with nothing
        left behind.
        """
        left_bytes = self._owner_bytes - await self._rows.bytes_of(file.owner)
        file_id = uuid7()
        stored = FOLDER / file_id.hex[-2:] / str(file_id)
        temporary = self._home / FOLDER / "incoming" / str(file_id)
        digest, size = hashlib.sha256(), 0
        opened = await asyncio.to_thread(_create, temporary)
        try:
            with opened:
                async for chunk in chunks:
                    size += len(chunk)
                    if size > most_bytes:
                        raise file_too_large(file.name, most_bytes)
                    if size > left_bytes:
                        raise owner_files_full(file.name, self._owner_bytes)
                    await asyncio.to_thread(_write, opened, digest, chunk)
            await asyncio.to_thread(_move, temporary, self._home / stored)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        record = FileRecord(
            id=file_id,
            owner=file.owner,
            conversation_id=file.conversation_id,
            run_id=file.run_id,
            name=file.name,
            media_type=file.media_type,
            size_bytes=size,
            sha256=digest.hexdigest(),
            storage_path=str(stored),
            created_at=datetime.now(UTC),
        )
        try:
            await self._rows.add(record)
        except BaseException:
            (self._home / stored).unlink(missing_ok=True)
            raise
        return record

    async def find(self, file_id: uuid.UUID, owner: str) -> tuple[FileRecord, Path]:
        """A file and where its bytes are. Raises NotFound, also when they are gone."""
        record = await self._rows.get(file_id, owner)
        path = self._home / record.storage_path
        if not await asyncio.to_thread(path.is_file):
            raise no_file(file_id)
        return record, path

    async def remove(self, file_id: uuid.UUID, owner: str) -> None:
        """Raises NotFound."""
        record = await self._rows.remove(file_id, owner)
        await asyncio.to_thread((self._home / record.storage_path).unlink, missing_ok=True)

    async def remove_bytes(self, records: Iterable[FileRecord]) -> None:
        """Removes the bytes of files whose rows have gone. What cannot be removed is found by a later sweep."""
        for record in records:
            try:
                await asyncio.to_thread((self._home / record.storage_path).unlink, missing_ok=True)
            except OSError as error:
                log.warning("bytes stay behind", extra={"file": str(record.id), "reason": str(error)})

    async def sweep(self, age: timedelta) -> int:
        """Removes files older than `age`, uploads that broke off before that, and bytes of then whose row was never
        written. Returns how many files.
        """
        moment, removed = datetime.now(UTC) - age, 0
        while old := await self._rows.older_than(moment, SWEEP_BATCH):
            for record in old:
                with contextlib.suppress(NotFound):  # its owner was faster
                    await self.remove(record.id, record.owner)
            removed += len(old)
        await asyncio.to_thread(_remove_older, self._home / FOLDER / "incoming", moment)
        await self._remove_rowless(moment)
        return removed

    async def _remove_rowless(self, before: datetime) -> None:
        older = await asyncio.to_thread(_older_files, self._home / FOLDER, before)
        for start in range(0, len(older), SWEEP_BATCH):
            found = {uuid.UUID(path.name): path for path in older[start : start + SWEEP_BATCH]}
            for file_id in found.keys() - await self._rows.known(found.keys()):
                log.warning("removing bytes that have no row", extra={"file": str(file_id)})
                await asyncio.to_thread(found[file_id].unlink, missing_ok=True)


def _create(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _write(opened: IO[bytes], digest: hashlib._Hash, chunk: bytes) -> None:
    digest.update(chunk)
    opened.write(chunk)


def _move(temporary: Path, stored: Path) -> None:
    stored.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary.replace(stored)


def _remove_older(folder: Path, before: datetime) -> None:
    for path in folder.glob("*"):
        with contextlib.suppress(OSError):
            if path.stat().st_mtime < before.timestamp():
                path.unlink()


def _older_files(folder: Path, before: datetime) -> list[Path]:
    """Stored files whose bytes were written before that moment; what somebody else put there is left alone."""
    older = []
    for path in folder.glob("??/*"):
        with contextlib.suppress(OSError, ValueError):
            if uuid.UUID(path.name) and path.stat().st_mtime < before.timestamp():
                older.append(path)
    return older
