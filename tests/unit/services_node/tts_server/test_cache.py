"""Kept audio: found by all it depends on, the least lately said forgotten first, never more than there is room for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from services_node.tts_server.cache import AudioCache, CacheKey, Finished
from services_node.tts_server.engines.contract import Word

KEY = CacheKey("hola", "kokoro", (("ef_dora", 1.0),), "mp3", 1.0, None, True)


def key(text: str) -> CacheKey:
    return replace(KEY, text=text)


def audio(size: int) -> Finished:
    """One that takes `size` bytes under a key of one letter."""
    return Finished(bytes(size - Finished(b"", 0).size(key("a"))), 1.0)


def test_the_least_lately_said_is_forgotten_first() -> None:
    cache = AudioCache(20_000)
    for text in "abcdefgh":
        cache.keep(key(text), audio(2_500))
    assert len(cache) == 8 and cache.bytes == 20_000
    assert cache.get(key("a"))
    cache.keep(key("i"), audio(2_500))
    assert cache.get(key("a")) and cache.get(key("b")) is None and len(cache) == 8


def test_keeping_it_again_takes_no_more_room() -> None:
    cache = AudioCache(20_000)
    for _ in range(3):
        cache.keep(KEY, audio(2_000))
    assert len(cache) == 1 and cache.bytes == audio(2_000).size(KEY)


def test_one_that_would_drive_out_many_is_not_kept() -> None:
    cache = AudioCache(20_000)
    cache.keep(key("a"), audio(2_500))
    cache.keep(key("b"), audio(2_501))
    assert len(cache) == 1 and cache.get(key("b")) is None


def test_without_room_nothing_is_kept() -> None:
    cache = AudioCache(0)
    cache.keep(KEY, Finished(b"", 0))
    assert not len(cache) and not cache.bytes


def test_words_take_room_too() -> None:
    plain = Finished(b"abc", 1.0)
    assert replace(plain, words=(Word("hola", 0, 1),) * 10).size(KEY) >= plain.size(KEY) + 1000


@pytest.mark.parametrize(
    "other",
    [
        {"text": "Hola"}, {"engine": "piper"}, {"voice": (("em_alex", 1.0),)}, {"format": "wav"}, {"speed": 1.25},
        {"language": "es"}, {"normalise": False},
    ],
)  # fmt: skip
def test_whatever_changes_the_audio_is_another_entry(other: dict[str, object]) -> None:
    cache = AudioCache(100_000)
    cache.keep(KEY, Finished(b"x", 1.0))
    assert cache.get(KEY) and cache.get(replace(KEY, **other)) is None
