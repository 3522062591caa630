"""What is asked for, checked: first what needs no engine, then what depends on one. Pure but for reading the text."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from services_node.tts_server import errors
from services_node.tts_server.cache import CacheKey
from services_node.tts_server.encoding import FORMATS, Format
from services_node.tts_server.engines.contract import EngineInfo
from services_node.tts_server.schemas import SpeechRequest
from services_node.tts_server.speaking import Sentence
from services_node.tts_server.voices import VoiceChoice, base_language, choose_voice, language_of_voice, majority

SPEEDS = (0.25, 4.0)  # OpenAI's
OPENAI_MODELS = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts")  # the default engine answers to them
_KOKORO_LANGUAGES = {"a": "en", "b": "en", "e": "es"}  # `lang_code` of clients of other servers of Kokoro
_LONG_CHARS = 500  # read beside the event loop
_HALVES = re.compile("[\ud800-\udfff]")  # of a character that a client cut in two: they have no bytes

# text, its language (None: told from each sentence), the language of sentences that tell none, whether it is normalised
Read = Callable[[str, str | None, str, bool], Sequence[Sentence]]


@dataclass(frozen=True, slots=True)
class Wish:
    """A request whose fields are right, whatever engine speaks. engine: as it is asked for; "" is the default one.
    listener: whether somebody hears it as it is made."""

    text: str
    engine: str
    voice: str | None
    format: Format
    speed: float
    language: str | None
    normalise: bool
    in_events: bool
    listener: bool = True


@dataclass(frozen=True, slots=True)
class Order:
    """What an engine is going to speak."""

    wish: Wish
    engine: EngineInfo
    voice: VoiceChoice
    sentences: Sequence[Sentence]

    @property
    def key(self) -> CacheKey:
        wish = self.wish
        return CacheKey(
            wish.text, self.engine.name, self.voice.shares, wish.format.name, wish.speed, wish.language, wish.normalise
        )


def wish_of(asked: SpeechRequest, most_chars: int) -> Wish:
    """Raises ApiError (400) naming the field at fault."""
    if len(asked.input) > most_chars:
        raise errors.input_too_long(len(asked.input), most_chars)
    text = _HALVES.sub("", asked.input)
    if not text.strip():
        raise errors.nothing_to_say()
    if asked.response_format not in FORMATS:
        raise errors.unknown_format(asked.response_format, FORMATS)
    if asked.stream_format not in ("audio", "sse"):
        raise errors.unknown_stream_format(asked.stream_format)
    slowest, fastest = SPEEDS
    if not slowest <= asked.speed <= fastest:  # NaN neither
        raise errors.speed_out_of_range(asked.speed, slowest, fastest)
    model = asked.model.strip()
    return Wish(
        text=text,
        engine="" if model.startswith(OPENAI_MODELS) else model,
        voice=asked.voice,
        format=FORMATS[asked.response_format],
        speed=asked.speed,
        language=_language(asked.language),
        normalise=asked.normalize,
        in_events=asked.stream_format == "sse",
        listener=asked.listener,
    )


def engine_named(name: str, infos: Sequence[EngineInfo], default: str) -> EngineInfo:
    """Raises ApiError (400) for one that nobody has."""
    wanted = name or default
    for info in infos:
        if info.name == wanted:
            return info
    raise errors.unknown_engine(wanted, [info.name for info in infos])


async def ordered(wish: Wish, engine: EngineInfo, read: Read, default_language: str) -> Order:
    """engine: one whose voices are known. Raises ApiError (400) for what it has not or can't."""
    if wish.language is not None and wish.language not in engine.languages:
        raise errors.unknown_language(wish.language, engine)
    slowest, fastest = engine.speeds
    if not slowest <= wish.speed <= fastest:
        raise errors.speed_unsupported(wish.speed, engine)
    # A wrong voice is told before the text is read; the language only matters where none is named.
    choose_voice(wish.voice, engine, engine.languages[0])
    otherwise = language_of_voice(wish.voice, engine.voices) or default_language
    if otherwise not in engine.languages:
        otherwise = engine.languages[0]
    sentences = await _read(read, wish, otherwise)
    for sentence in sentences:
        if sentence.language not in engine.languages:
            raise errors.language_not_spoken(sentence.source, sentence.language, engine)
    language = majority([(sentence.language, len(sentence.text)) for sentence in sentences])
    return Order(wish, engine, choose_voice(wish.voice, engine, language), sentences)


async def _read(read: Read, wish: Wish, otherwise: str) -> Sequence[Sentence]:
    if len(wish.text) < _LONG_CHARS:
        sentences = read(wish.text, wish.language, otherwise, wish.normalise)
    else:
        sentences = await asyncio.to_thread(read, wish.text, wish.language, otherwise, wish.normalise)
    if not any(sentence.text.strip() for sentence in sentences):
        raise errors.nothing_to_say()
    return sentences


def _language(asked: str | None) -> str | None:
    tag = (asked or "").strip().lower()
    return None if not tag or tag == "auto" else base_language(_KOKORO_LANGUAGES.get(tag, tag))
