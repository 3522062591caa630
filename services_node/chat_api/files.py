"""`/api/files`: uploading, and getting what runs made. One's own files, and nobody else's.

The bytes are untrusted, whoever sent or made them: a browser is told to take the type as it is, to save the file rather
than to show it (images that cannot hold scripts, and sounds, aside), and to run nothing in it.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from starlette.datastructures import UploadFile
from starlette.responses import FileResponse, Response

from db.records import FileRecord
from flows.audio import FORMS
from flows.file_store import NewFile, media_type_of
from services_node.chat_api.paging import decode_cursor, page
from services_node.chat_api.parts import owner, parts_of
from services_node.chat_api.schemas import FileOut, FilePage
from wire.errors import ValidationFailed

router = APIRouter(prefix="/api/files", tags=["files"])

PIECE_BYTES = 256 * 2**10
MAX_NAME_CHARS = 255
_HEARD = {form.media_type for form in FORMS.values()}
SHOWN = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"}) | _HEARD
# Types that a browser would run scripts of are told as plain bytes.
TOLD = SHOWN | {"text/plain", "text/csv", "text/markdown", "application/json", "application/pdf", "application/zip"}


@router.get("")
async def files(
    request: Request, limit: Annotated[int, Query(ge=1, le=200)] = 50, cursor: str | None = None
) -> FilePage:
    """Newest first."""
    rows = parts_of(request).file_rows
    found = await rows.page(owner(), limit=limit + 1, before=decode_cursor(cursor))
    shown, following = page(found, limit, lambda one: (one.created_at, one.id))
    return FilePage(files=[FileOut.of(one) for one in shown], next_cursor=following)


@router.post("", status_code=201)
async def upload(request: Request) -> FileOut:
    """Keeps a file: a form (multipart/form-data) with one file in the field `file`."""
    parts = parts_of(request)
    async with request.form(max_files=1, max_fields=10) as form:
        sent = form.get("file")
        if not isinstance(sent, UploadFile):
            raise ValidationFailed("Send one file in the form field `file`.", param="file", code="missing_field")
        name = file_name(sent.filename or "")
        new = NewFile(owner(), name, media_type_of(name))
        kept = await parts.files.save(new, _pieces(sent), most_bytes=parts.settings.max_file_bytes)
    return FileOut.of(kept)


@router.get("/{file_id}")
async def file(file_id: uuid.UUID, request: Request) -> FileOut:
    return FileOut.of(await parts_of(request).file_rows.get(file_id, owner()))


@router.get("/{file_id}/content")
async def content(file_id: uuid.UUID, request: Request) -> Response:
    """The bytes."""
    record, path = await parts_of(request).files.find(file_id, owner())
    return FileResponse(path, headers=headers_of(record))


@router.delete("/{file_id}", status_code=204)
async def remove(file_id: uuid.UUID, request: Request) -> Response:
    await parts_of(request).files.remove(file_id, owner())
    return Response(status_code=204)


def headers_of(record: FileRecord) -> dict[str, str]:
    """What a browser is told of a file's untrusted bytes."""
    return {
        "content-type": record.media_type if record.media_type in TOLD else "application/octet-stream",
        "content-disposition": disposition("inline" if record.media_type in SHOWN else "attachment", record.name),
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox; default-src 'none'",
        "cache-control": "private, no-cache",
        "etag": f'"{record.sha256}"',
    }


def disposition(kind: str, name: str) -> str:
    """The header, with the name twice: for those who know UTF-8, and for the others."""
    named = file_name(name)
    plain = "".join(sign if sign.isascii() and (sign.isalnum() or sign in "._- ") else "_" for sign in named)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(named, safe='')}"


def file_name(name: str) -> str:
    """The last part of a name, without what no header and no row can hold."""
    last = name.replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(sign for sign in last.encode(errors="replace").decode() if sign.isprintable())
    return kept[-MAX_NAME_CHARS:].strip(". ") or "file"


async def _pieces(sent: UploadFile) -> AsyncIterator[bytes]:
    while piece := await sent.read(PIECE_BYTES):
        yield piece
