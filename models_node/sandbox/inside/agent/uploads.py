"""Files on their way in: decompressed within a bound, parted, and written beside their place before they take it."""

import contextlib
import errno
import os
import secrets
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from .errors import BadRequest, NoSpace, NotFound, RequestError, TooLarge

# Names of files that are not complete yet; a watcher does not tell of them.
PARTIAL_PREFIX = ".upload-"
PARTIAL_SUFFIX = ".partial"
_PIECE_BYTES = 256 * 1024
_NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def os_error(error: OSError, path: Path) -> RequestError:
    """What an error of the file system means to who asked."""
    if error.errno in _NO_SPACE:
        return NoSpace(f"not enough space for {str(path)!r}: {error.strerror}")
    if error.errno == errno.ENOENT:
        return NotFound(f"path {str(path)!r} does not exist")
    return BadRequest(f"{str(path)!r}: {error.strerror}")


class Decoder:
    """Counts what comes out, after decompression, against `max_bytes`. `encoding` is the Content-Encoding."""

    def __init__(self, encoding: str, max_bytes: int) -> None:
        """Raises BadRequest for encodings that are not known."""
        if encoding not in ("", "identity", "gzip"):
            raise BadRequest(f"Content-Encoding {encoding!r} is not supported: send gzip, or none")
        self._gzip = zlib.decompressobj(wbits=31) if encoding == "gzip" else None
        self._max_bytes = max_bytes
        self._left = max_bytes
        self._began = False

    def feed(self, data: bytes) -> Iterator[bytes]:
        """The plain bytes, in pieces. Raises TooLarge, BadRequest."""
        if self._gzip is None:
            yield self._counted(data)
            return
        while data:
            self._began = True
            if self._gzip.eof:  # members may follow one another
                self._gzip = zlib.decompressobj(wbits=31)
            try:
                piece = self._gzip.decompress(data, _PIECE_BYTES)
            except zlib.error as error:
                raise BadRequest("the body is no gzip") from error
            yield self._counted(piece)
            data = self._gzip.unused_data if self._gzip.eof else self._gzip.unconsumed_tail

    def end(self) -> None:
        """Raises BadRequest when the body ended early."""
        if self._gzip is not None and not (self._began and self._gzip.eof):
            raise BadRequest("the gzip body ends before its end")

    def _counted(self, piece: bytes) -> bytes:
        self._left -= len(piece)
        if self._left < 0:
            raise TooLarge(f"the upload is larger than {self._max_bytes} bytes")
        return piece


class PartialFile:
    """A file being written under another name in its folder; `commit` puts it in its place, `discard` removes it."""

    def __init__(self, path: Path) -> None:
        """Makes missing folders. Raises RequestError."""
        # A link is written through, as if the file were opened.
        self.path = path
        try:
            target = Path(os.path.realpath(path))
            if target.is_dir():
                raise BadRequest(f"path {str(path)!r} is a folder")
            target.parent.mkdir(parents=True, exist_ok=True)
            self._target = target
            self._partial = target.parent / f"{PARTIAL_PREFIX}{secrets.token_hex(8)}{PARTIAL_SUFFIX}"
            self._descriptor = os.open(self._partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise os_error(error, path) from error
        self._written = False

    def write(self, data: bytes) -> None:
        """Raises RequestError, NoSpace above all."""
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._descriptor, view) :]
        except OSError as error:
            raise os_error(error, self.path) from error

    def commit(self, metadata: Mapping[str, str]) -> None:
        """Puts it in its place, with its predecessor's mode. Raises RequestError."""
        try:
            for name, value in metadata.items():
                os.setxattr(self._descriptor, f"user.e2b.{name}", value.encode())
            with contextlib.suppress(FileNotFoundError):
                os.fchmod(self._descriptor, self._target.stat().st_mode & 0o7777)
            os.close(self._descriptor)
            self._written = True
            self._partial.rename(self._target)
        except OSError as error:
            raise os_error(error, self.path) from error

    def discard(self) -> None:
        """Removes what was written; after `commit`, nothing."""
        if not self._written:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)
        with contextlib.suppress(OSError):
            self._partial.unlink()


class Parts:
    """The files of a multipart body: `open_file` is asked for each part named `file`, with its file name."""

    def __init__(self, boundary: bytes, open_file: Callable[[str], PartialFile]) -> None:
        self._open_file = open_file
        self._file: PartialFile | None = None
        self._headers: dict[bytes, bytes] = {}
        self._field = bytearray()
        self._value = bytearray()
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._headers.clear,
                "on_header_field": lambda data, start, end: self._field.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._part_data,
                "on_part_end": self._part_end,
            },
        )

    def feed(self, data: bytes) -> None:
        """Raises RequestError."""
        try:
            self._parser.write(data)
        except FormParserError as error:
            raise BadRequest(f"the multipart body is malformed: {error}") from error

    def end(self) -> None:
        """Raises BadRequest when the last part has no end."""
        try:
            self._parser.finalize()
        except FormParserError as error:
            raise BadRequest("the multipart body ends before its end") from error
        if self._file is not None:
            raise BadRequest("the multipart body ends before its end")

    def _header_end(self) -> None:
        self._headers[bytes(self._field).lower()] = bytes(self._value)
        self._field.clear()
        self._value.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if options.get(b"name") == b"file":
            self._file = self._open_file(options.get(b"filename", b"").decode("utf-8", "replace"))

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])

    def _part_end(self) -> None:
        self._file = None
