"""Uploads: bounded after decompression, parted, and whole or not there."""

from __future__ import annotations

import gzip
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from models_node.sandbox.inside.agent.errors import BadRequest, NoSpace, TooLarge
from models_node.sandbox.inside.agent.uploads import Decoder, PartialFile, Parts


def decoded(data: bytes, encoding: str, limit: int, size: int = 100) -> bytes:
    decoder = Decoder(encoding, limit)
    out = b"".join(piece for at in range(0, len(data), size) for piece in decoder.feed(data[at : at + size]))
    decoder.end()
    return out


def test_gzip_and_plain_bodies_come_out_the_same() -> None:
    data = bytes(range(256)) * 100
    assert decoded(data, "", len(data)) == data
    assert decoded(gzip.compress(data), "gzip", len(data)) == data
    assert decoded(gzip.compress(data) + gzip.compress(b"more"), "gzip", 10**6) == data + b"more"


def test_the_bound_holds_after_decompression() -> None:
    with pytest.raises(TooLarge, match="1000 bytes"):
        decoded(gzip.compress(bytes(10**7)), "gzip", 1000)
    with pytest.raises(TooLarge):
        decoded(b"x" * 1001, "", 1000)


@pytest.mark.parametrize("data", [b"", b"no gzip", gzip.compress(b"x" * 1000)[:-9]])
def test_a_broken_gzip_body_is_refused(data: bytes) -> None:
    with pytest.raises(BadRequest):
        decoded(data, "gzip", 10**6)


def test_an_unknown_encoding_is_refused_by_name() -> None:
    with pytest.raises(BadRequest, match="'br'"):
        Decoder("br", 1)


def test_a_file_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "below" / "file"
    file = PartialFile(path)
    file.write(b"half")
    assert not path.exists()
    file.discard()
    assert list(path.parent.iterdir()) == []
    file = PartialFile(path)
    file.write(b"whole")
    file.commit({})
    file.discard()
    assert [(entry.name, entry.read_bytes()) for entry in path.parent.iterdir()] == [("file", b"whole")]


@contextmanager
def little_space() -> Iterator[None]:
    """No file of this process may be larger than 1000 bytes, what pytest prints into included: writing on fails as it
    does on a full disk.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_no_space_is_told_and_nothing_half_written_stays(tmp_path: Path) -> None:
    file = PartialFile(tmp_path / "large")
    with pytest.raises(NoSpace, match="not enough space"), little_space():
        file.write(bytes(2000))
    file.discard()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_parts_become_files_however_the_body_is_cut(tmp_path: Path, size: int) -> None:
    body = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="%s"\r\n\r\n%s\r\n' % (name, data)
        for name, data in ((b"a", b"1\r\n--bx"), (b"b/c", b""))
    )
    body += b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nignored\r\n--b--\r\n'
    files: list[PartialFile] = []

    def open_file(name: str) -> PartialFile:
        files.append(PartialFile(tmp_path / name))
        return files[-1]

    parts = Parts(b"b", open_file)
    for at in range(0, len(body), size):
        parts.feed(body[at : at + size])
    parts.end()
    for file in files:
        file.commit({})
        file.discard()
    assert [(tmp_path / name).read_bytes() for name in ("a", "b/c")] == [b"1\r\n--bx", b""]
