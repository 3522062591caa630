"""Samples become a format while they come: what is fed leaves as bytes as soon as the format allows.

PyAV (FFmpeg's libraries) does the formats, into a sink that cannot seek, as a socket cannot.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.packet import Packet

RATE = 24_000  # Hz, as OpenAI's `pcm` has; only Opus is decoded at 48 kHz, whatever it was made from
SAMPLE_BYTES = 2
_UNKNOWN_SIZE = 0xFFFF_FFFF  # of a WAV whose end is not known yet
_HEADER_BYTES = 44
# Fed at once, these are encoded beside the event loop: about 5 ms of work on a slow core.
_LONG_BYTES = RATE * SAMPLE_BYTES // 2


@dataclass(frozen=True, slots=True)
class Format:
    """rate: samples a second of what a decoder gives. container, codec: FFmpeg's names; none for raw samples."""

    name: str
    media_type: str
    rate: int = RATE
    container: str = ""
    codec: str = ""
    bits_per_second: int | None = None
    options: tuple[tuple[str, str], ...] = ()


FORMATS: dict[str, Format] = {
    one.name: one
    for one in (
        # No Xing frame and no tags: the one needs to seek, the other delays the sound.
        Format(
            "mp3", "audio/mpeg", RATE, "mp3", "libmp3lame", 64_000, (("write_xing", "0"), ("id3v2_version", "0"))
        ),
        # Pages of 60 ms, where a second is usual: the first one holds up the first sound.
        Format("opus", "audio/ogg", 48_000, "ogg", "libopus", 48_000, (("page_duration", "60000"),)),
        Format("aac", "audio/aac", RATE, "adts", "aac", 64_000),
        Format("flac", "audio/flac", RATE, "flac", "flac"),
        Format("wav", "audio/wav"),
        Format("pcm", "audio/pcm"),
    )
}  # fmt: skip


class Encoder(Protocol):
    """pcm: signed 16-bit little-endian mono samples, however they are cut, at the rate it was made for."""

    def feed(self, pcm: bytes) -> bytes:
        """What can leave now; it may be nothing."""
        ...

    def finish(self) -> bytes:
        """The rest. Nothing is fed after it."""
        ...


def make_encoder(wanted: Format, rate: int) -> Encoder:
    """rate: Hz of what is going to be fed."""
    if wanted.container:
        return _Contained(wanted, rate)
    return _Raw(rate, header=wav_header() if wanted.name == "wav" else b"")


async def fed(encoder: Encoder, pcm: bytes) -> bytes:
    """The same, beside the event loop where it takes long."""
    if len(pcm) < _LONG_BYTES:
        return encoder.feed(pcm)
    return await asyncio.to_thread(encoder.feed, pcm)


def wav_header(data_bytes: int | None = None) -> bytes:
    """Of 16-bit mono at `RATE`. None: a stream whose length nobody knows yet."""
    riff = _UNKNOWN_SIZE if data_bytes is None else data_bytes + _HEADER_BYTES - 8
    data = _UNKNOWN_SIZE if data_bytes is None else data_bytes
    layout = struct.pack("<HHIIHH", 1, 1, RATE, RATE * SAMPLE_BYTES, SAMPLE_BYTES, 8 * SAMPLE_BYTES)
    return (
        b"RIFF"
        + struct.pack("<I", riff)
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + layout
        + b"data"
        + struct.pack("<I", data)
    )


def sized(wanted: Format, whole: bytes) -> bytes:
    """A whole file: a WAV's header tells its length, as it is known now."""
    if wanted.name != "wav":
        return whole
    return wav_header(len(whole) - _HEADER_BYTES) + whole[_HEADER_BYTES:]


class _Samples:
    """Whole samples out of pieces cut anywhere, as frames for FFmpeg."""

    def __init__(self, rate: int) -> None:
        self._rate = rate
        self._rest = b""
        self._seen = 0

    def frame(self, pcm: bytes) -> AudioFrame | None:
        pcm = self._rest + pcm if self._rest else pcm
        whole = len(pcm) - len(pcm) % SAMPLE_BYTES
        self._rest = pcm[whole:]
        if not whole:
            return None
        samples = np.frombuffer(pcm, "<i2", whole // SAMPLE_BYTES)
        frame = AudioFrame.from_ndarray(samples.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts = self._rate, self._seen
        self._seen += samples.size
        return frame


class _Raw:
    """Samples at `RATE`, behind a header or none."""

    def __init__(self, rate: int, header: bytes) -> None:
        self._header = header
        self._samples = _Samples(rate)
        self._resampler = AudioResampler("s16", "mono", RATE) if rate != RATE else None
        self._rest = b""

    def feed(self, pcm: bytes) -> bytes:
        header, self._header = self._header, b""
        if self._resampler is None:
            pcm = self._rest + pcm
            whole = len(pcm) - len(pcm) % SAMPLE_BYTES
            self._rest = pcm[whole:]
            return header + pcm[:whole]
        frame = self._samples.frame(pcm)
        return header + (_bytes_of(self._resampler.resample(frame)) if frame is not None else b"")

    def finish(self) -> bytes:
        header, self._header = self._header, b""
        return header + (_bytes_of(self._resampler.resample(None)) if self._resampler is not None else b"")


def _bytes_of(frames: Iterable[AudioFrame]) -> bytes:
    return b"".join(frame.to_ndarray().astype("<i2", copy=False).tobytes() for frame in frames)


class _Sink:
    """What a container is written to. It has no `seek`, so that the container knows that it can't."""

    def __init__(self) -> None:
        self._written: list[bytes] = []

    def write(self, data: bytes) -> int:
        self._written.append(bytes(data))
        return len(data)

    def taken(self) -> bytes:
        written, self._written = self._written, []
        return b"".join(written)


class _Contained:
    """An encoder of FFmpeg's in its container."""

    def __init__(self, wanted: Format, rate: int) -> None:
        self._sink = _Sink()
        self._samples = _Samples(rate)
        options = {"flush_packets": "1", **dict(wanted.options)}  # or 32 KiB are collected first
        self._container = av.open(self._sink, "w", format=wanted.container, options=options)
        stream = self._container.add_stream(wanted.codec, rate=wanted.rate, layout="mono")
        assert isinstance(stream, AudioStream)  # noqa: S101 - the codecs above are all of sound
        if wanted.bits_per_second is not None:
            stream.bit_rate = wanted.bits_per_second
        self._stream = stream

    def feed(self, pcm: bytes) -> bytes:
        frame = self._samples.frame(pcm)
        if frame is not None:
            self._mux(self._stream.encode(frame))
        return self._sink.taken()

    def finish(self) -> bytes:
        self._mux(self._stream.encode(None))
        self._container.close()
        return self._sink.taken()

    def _mux(self, packets: Iterable[Packet[AudioStream]]) -> None:
        for packet in packets:
            self._container.mux(packet)
