"""`/files`: downloads as a stream, uploads in every form that the SDK sends."""

import os
import stat
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from python_multipart.multipart import parse_options_header

from . import AgentLimits
from .errors import BadRequest, NotFound
from .http import Receive, Scope, Send, answer_json, header, next_chunk, query
from .paths import Paths, check_user
from .uploads import Decoder, PartialFile, Parts, os_error

_PIECE_BYTES = 256 * 1024
_METADATA_PREFIX = b"x-metadata-"
MAX_FILES = 1000


class Files:
    """Reads and writes files as the sandbox's user."""

    def __init__(self, paths: Paths, limits: AgentLimits) -> None:
        self._paths = paths
        self._limits = limits

    async def download(self, scope: Scope, send: Send) -> None:
        """The file at `?path=`. Raises RequestError before anything was sent."""
        parameters = query(scope)
        check_user(parameters.get("username", ""))
        path = self._paths.resolve(parameters.get("path", ""))
        descriptor = _open_regular(path)
        try:
            # The SDK asks for `gzip` alone when its caller wants it; others merely could take it.
            gzip = header(scope, b"accept-encoding").strip().lower() == "gzip"
            await _send_file(descriptor, send, gzip=gzip)
        finally:
            os.close(descriptor)

    async def upload(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Writes the body's files; answers with a list of what was written. Raises RequestError: then nothing was."""
        parameters = query(scope)
        check_user(parameters.get("username", ""))
        content_type, options = parse_options_header(header(scope, b"content-type"))
        decoder = Decoder(header(scope, b"content-encoding").strip().lower(), self._limits.upload_bytes)
        given = parameters.get("path", "")
        written: list[PartialFile] = []

        def open_file(name: str) -> PartialFile:
            # In multipart file names, clients write a quotation mark as `%22` (and little else): HTML's own rule.
            path = given or name.replace("%22", '"')
            if not path:
                raise BadRequest("a file without a path: give `?path=`, or a file name to its part")
            if given and written:
                raise BadRequest("`?path=` names one file, but the body has several")
            if len(written) >= MAX_FILES:
                raise BadRequest(f"more than {MAX_FILES} files in one upload")
            file = PartialFile(self._paths.resolve(path))
            written.append(file)
            return file

        try:
            if content_type == b"multipart/form-data":
                parts = Parts(_boundary(options), open_file)
                await self._receive(receive, decoder, parts.feed)
                parts.end()
            elif content_type in (b"application/octet-stream", b""):
                await self._receive(receive, decoder, open_file("").write)
            else:
                raise BadRequest("send multipart/form-data or application/octet-stream")
            if not written:
                raise BadRequest("no part named `file` in the body")
            metadata = _metadata(scope)
            for file in written:
                file.commit(metadata)
        finally:
            for file in written:
                file.discard()
        await answer_json(send, [_described(file.path, metadata) for file in written])

    async def _receive(self, receive: Receive, decoder: Decoder, write: Any) -> None:
        more = True
        while more:
            chunk, more = await next_chunk(receive, self._limits.stall_seconds)
            for piece in decoder.feed(chunk):
                write(piece)
        decoder.end()


def _open_regular(path: Path) -> int:
    """A descriptor of a regular file; anything else could block or never end. Raises RequestError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise os_error(error, path) from error
    mode = os.fstat(descriptor).st_mode
    if stat.S_ISREG(mode):
        return descriptor
    os.close(descriptor)
    if stat.S_ISDIR(mode):
        raise BadRequest(f"path {str(path)!r} is a folder")
    raise BadRequest(f"path {str(path)!r} is no regular file")


async def _send_file(descriptor: int, send: Send, *, gzip: bool) -> None:
    try:
        piece = os.read(descriptor, _PIECE_BYTES)
    except OSError as error:
        raise NotFound(f"the file cannot be read: {error.strerror}") from error
    headers = [(b"content-type", b"application/octet-stream")]
    compressor = zlib.compressobj(wbits=31) if gzip else None
    if compressor is not None:
        headers.append((b"content-encoding", b"gzip"))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    while piece:
        body = piece if compressor is None else compressor.compress(piece)
        await send({"type": "http.response.body", "body": body, "more_body": True})
        piece = os.read(descriptor, _PIECE_BYTES)
    await send({"type": "http.response.body", "body": b"" if compressor is None else compressor.flush()})


def _boundary(options: Mapping[bytes, bytes]) -> bytes:
    boundary = options.get(b"boundary", b"")
    if not boundary:
        raise BadRequest("multipart/form-data without a boundary")
    return boundary


def _metadata(scope: Scope) -> dict[str, str]:
    """The `X-Metadata-*` headers, in lower case and without their prefix."""
    return {
        bytes(name)[len(_METADATA_PREFIX) :].decode("latin-1"): bytes(value).decode("latin-1")
        for name, value in scope["headers"]
        if bytes(name).startswith(_METADATA_PREFIX)
    }


def _described(path: Path, metadata: Mapping[str, str]) -> dict[str, Any]:
    described: dict[str, Any] = {"name": path.name, "path": str(path), "type": "file"}
    if metadata:
        described["metadata"] = dict(metadata)
    return described
