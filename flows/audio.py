"""Samples become files: one continuous encoding, whatever the pieces they come in. By FFmpeg's libraries (PyAV).

Samples are PCM as the TTS server gives it: signed 16-bit little-endian, mono, `PCM_HERTZ`.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Literal, Protocol, cast

from wire.clients.speech import PCM_HERTZ

if TYPE_CHECKING:
    from av.audio.stream import AudioStream
    from av.container import OutputContainer

AudioFormat = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]
SAMPLE_BYTES = 2
WAV_HEAD_BYTES = 44


@dataclass(frozen=True, slots=True)
class Form:
    """How a format is written. hertz: of what is encoded. bits: a second. stream: of the encoder, for pieces that are
    played as they come; options: of a container that nobody can go back in."""

    container: str
    codec: str
    media_type: str
    ending: str
    hertz: int = PCM_HERTZ
    bits: int | None = None
    stream: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)


FORMS: Mapping[AudioFormat, Form] = {
    # Without the reservoir every frame of MP3 stands for itself.
    "mp3": Form("mp3", "libmp3lame", "audio/mpeg", "mp3", bits=64_000, stream={"reservoir": "0"},
                options={"write_xing": "0", "id3v2_version": "0"}),
    "opus": Form("ogg", "libopus", "audio/ogg", "opus", hertz=48_000, bits=32_000, options={"page_duration": "200000"}),
    "aac": Form("adts", "aac", "audio/aac", "aac", bits=64_000),
    "flac": Form("flac", "flac", "audio/flac", "flac"),
    "wav": Form("wav", "pcm_s16le", "audio/wav", "wav"),
    "pcm": Form("wav", "pcm_s16le", "audio/wav", "wav"),  # samples without a head are no file that anybody opens
}  # fmt: skip


class Writable(Protocol):
    """What is written into: a file, which the encoder may go back in, or `Pieces`, in which it may not."""

    def write(self, data: bytes, /) -> int: ...


class Pieces:
    """What was encoded since it was last taken."""

    def __init__(self) -> None:
        self._data = bytearray()

    def write(self, data: bytes, /) -> int:
        self._data += data
        return len(data)

    def take(self) -> bytes:
        taken = bytes(self._data)
        self._data.clear()
        return taken


class Encoder:
    """One continuous encoding of samples into `into`. It keeps a thread busy, so give it one that
    nobody waits on; who is cancelled meanwhile leaves it at work, and the next call waits for that."""

    def __init__(self, format_: AudioFormat, into: Writable) -> None:
        import av  # FFmpeg's libraries: not while the API starts

        form, streamed = FORMS[format_], isinstance(into, Pieces)
        self._container: OutputContainer = av.open(
            into, "w", format=form.container, options=dict(form.options) if streamed else {}
        )
        given: dict[str, Any] = {"options": dict(form.stream) if streamed else {}}
        self._stream = cast("AudioStream", self._container.add_stream(form.codec, rate=form.hertz, **given))
        self._stream.layout = "mono"
        if form.bits is not None:
            self._stream.bit_rate = form.bits
        self._odd, self._samples, self._finished = b"", 0, False
        self._lock = threading.Lock()

    def feed(self, pcm: bytes) -> None:
        """pcm: any number of bytes; half a sample waits for its other half."""
        with self._lock:
            self._feed(pcm)

    def _feed(self, pcm: bytes) -> None:
        import av

        if self._finished:
            return
        data = self._odd + pcm
        whole = len(data) - len(data) % SAMPLE_BYTES
        data, self._odd = data[:whole], data[whole:]
        if not data:
            return
        frame = av.AudioFrame(format="s16", layout="mono", samples=whole // SAMPLE_BYTES, align=1)
        frame.planes[0].update(data)
        frame.sample_rate, frame.time_base, frame.pts = PCM_HERTZ, Fraction(1, PCM_HERTZ), self._samples
        self._samples += whole // SAMPLE_BYTES
        for packet in self._stream.encode(frame):
            self._container.mux(packet)

    def finish(self) -> None:
        """May be called again. An encoder that is left without it would write its end when nobody expects that."""
        with self._lock:
            if self._finished:
                return
            self._finished = True
            for packet in self._stream.encode(None):
                self._container.mux(packet)
            self._container.close()


class Track:
    """What is heard of a text while it is spoken, in pieces that can be played as they come.

    Encoded formats: pieces of one continuous stream, cut between frames. `wav`: a file of its own for each sentence.
    `pcm`: samples.
    """

    def __init__(self, format_: AudioFormat) -> None:
        self._format = format_
        self._pieces = Pieces()
        self._encoder = None if format_ in ("wav", "pcm") else Encoder(format_, self._pieces)
        self._whole, self._sentence = bytearray(), bytearray()
        self.pcm_bytes = 0

    @property
    def seconds(self) -> float:
        return seconds_of(self.pcm_bytes)

    def feed(self, pcm: bytes) -> bytes:
        """The piece that can be played now; may be empty."""
        self.pcm_bytes += len(pcm)
        if self._encoder is not None:
            self._encoder.feed(pcm)
            return self._taken()
        self._whole += pcm
        if self._format == "pcm":
            return pcm
        self._sentence += pcm
        return b""

    def end_sentence(self) -> bytes:
        if not self._sentence:
            return b""
        piece = wav_head(len(self._sentence)) + bytes(self._sentence)
        self._sentence.clear()
        return piece

    def finish(self) -> bytes:
        """The last piece."""
        if self._encoder is None:
            return b""
        self._encoder.finish()
        return self._taken()

    def whole(self) -> bytes:
        """All of it as one file, once it is finished."""
        return wav_head(len(self._whole)) + bytes(self._whole) if self._encoder is None else bytes(self._whole)

    def _taken(self) -> bytes:
        piece = self._pieces.take()
        self._whole += piece
        return piece


def wav_head(pcm_bytes: int) -> bytes:
    """RIFF's head of so many bytes of samples."""
    fmt = struct.pack("<IHHIIHH", 16, 1, 1, PCM_HERTZ, PCM_HERTZ * SAMPLE_BYTES, SAMPLE_BYTES, 8 * SAMPLE_BYTES)
    riff = struct.pack("<I", WAV_HEAD_BYTES - 8 + pcm_bytes)
    return b"RIFF" + riff + b"WAVEfmt " + fmt + b"data" + struct.pack("<I", pcm_bytes)


def seconds_of(pcm_bytes: int) -> float:
    return round(pcm_bytes / SAMPLE_BYTES / PCM_HERTZ, 3)
