"""Each format: bytes while it is fed, the whole length when it is decoded, however it was cut."""

from __future__ import annotations

import asyncio
import io
from itertools import pairwise

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from services_node.tts_server.encoding import FORMATS, RATE, Format, fed, make_encoder, sized, wav_header
from tests.unit.services_node.tts_server.fakes import tone

SECONDS = 0.6
CONTAINED = [name for name, one in FORMATS.items() if one.container]
# What a codec adds: mp3's and AAC's frames before the first sample and up to the end of the last.
PADDING = {"mp3": 0.12, "aac": 0.13}


def encoded(name: str, pcm: bytes, rate: int = RATE, cuts: list[int] | None = None) -> bytes:
    encoder = make_encoder(FORMATS[name], rate)
    bounds = [0, *(cuts or []), len(pcm)]
    return b"".join(encoder.feed(pcm[start:end]) for start, end in pairwise(bounds)) + encoder.finish()


def decoded(name: str, audio: bytes) -> tuple[NDArray[np.float64], int]:
    """Samples within ±1, and their rate."""
    if name == "pcm":
        return np.frombuffer(audio, "<i2") / 32768, RATE
    with av.open(io.BytesIO(audio)) as container:
        rate = container.streams.audio[0].rate
        resampler = av.AudioResampler("s16", "mono", rate)
        frames = [made for frame in container.decode(audio=0) for made in resampler.resample(frame)]
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]) / 32768, rate


def pitch(samples: NDArray[np.float64], rate: int) -> float:
    spectrum = np.abs(np.fft.rfft(samples))
    return float(np.argmax(spectrum) * rate / len(samples))


@pytest.mark.parametrize("rate", [16_000, 22_050, 24_000, 44_100])
@pytest.mark.parametrize("name", FORMATS)
def test_what_is_decoded_has_its_length_pitch_and_loudness(name: str, rate: int) -> None:
    samples, heard_rate = decoded(name, encoded(name, tone(SECONDS, rate), rate))
    assert heard_rate == FORMATS[name].rate
    assert -0.002 <= len(samples) / heard_rate - SECONDS <= PADDING.get(name, 0.002)
    assert pitch(samples, heard_rate) == pytest.approx(440, abs=5)
    middle = samples[len(samples) // 4 : len(samples) * 3 // 4]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(12_000 / 32768 / np.sqrt(2), rel=0.1)


@pytest.mark.parametrize("name", FORMATS)
def test_it_does_not_matter_how_it_is_cut(name: str) -> None:
    pcm = tone(SECONDS, 22_050)
    whole = encoded(name, pcm, 22_050)
    cut = encoded(name, pcm, 22_050, cuts=[1, 2, 5, 5, 1000, 1001, 20_001])
    first, _ = decoded(name, whole)
    second, _ = decoded(name, cut)
    assert len(first) == len(second)
    assert np.abs(first - second).max() < 0.02


@pytest.mark.parametrize("name", FORMATS)
def test_the_first_fifth_of_a_second_leaves_at_once(name: str) -> None:
    encoder = make_encoder(FORMATS[name], RATE)
    audio = encoder.feed(tone(0.2, RATE))
    samples, rate = decoded(name, audio)
    assert len(samples) / rate > 0.05
    encoder.finish()


@pytest.mark.parametrize("name", CONTAINED)
def test_an_encoder_that_is_left_alone_does_no_harm(name: str) -> None:
    encoder = make_encoder(FORMATS[name], RATE)
    assert encoder.feed(tone(0.2, RATE))
    del encoder


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_fed_is_nothing_heard(name: str) -> None:
    encoder = make_encoder(FORMATS[name], RATE)
    assert isinstance(encoder.feed(b"") + encoder.finish(), bytes)


def test_pcm_passes_as_it_is_and_waits_for_the_other_half_of_a_sample() -> None:
    encoder = make_encoder(FORMATS["pcm"], RATE)
    assert (encoder.feed(b"abc"), encoder.feed(b"d"), encoder.finish()) == (b"ab", b"cd", b"")


def test_a_streamed_wav_says_that_its_length_is_unknown_and_a_whole_one_how_long_it_is() -> None:
    audio = encoded("wav", tone(0.1, RATE))
    assert audio[:4] == b"RIFF" and audio[4:8] == audio[40:44] == b"\xff\xff\xff\xff"
    assert int.from_bytes(audio[24:28], "little") == RATE
    told = sized(FORMATS["wav"], audio)
    assert told[:44] == wav_header(4800) and told[44:] == audio[44:]
    assert int.from_bytes(told[4:8], "little") == len(told) - 8
    assert sized(FORMATS["mp3"], b"x") == b"x"


@pytest.mark.parametrize("seconds", [0.1, 0.8])
async def test_much_at_once_is_encoded_beside_the_event_loop(seconds: float) -> None:
    threads: list[bool] = []

    class Encoder:
        def feed(self, pcm: bytes) -> bytes:
            try:
                asyncio.get_running_loop()
            except RuntimeError:
                threads.append(True)
            else:
                threads.append(False)
            return pcm

        def finish(self) -> bytes:
            return b""

    pcm = tone(seconds, RATE)
    assert await fed(Encoder(), pcm) == pcm
    assert threads == [seconds > 0.5]


def test_every_format_has_openais_name() -> None:
    assert set(FORMATS) == {"mp3", "opus", "aac", "flac", "wav", "pcm"}
    assert all(isinstance(one, Format) and one.media_type.startswith("audio/") for one in FORMATS.values())
