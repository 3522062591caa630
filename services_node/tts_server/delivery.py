"""One request from its wish to its encoded audio: kept audio, or a place, an engine, its speech, an encoder."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from services_node.tts_server import errors, metrics
from services_node.tts_server.asking import Order, Wish, engine_named, ordered
from services_node.tts_server.cache import Finished, SaidSegment
from services_node.tts_server.encoding import fed, make_encoder
from services_node.tts_server.engines.contract import EngineError, EngineInfo, Speaker, Word
from services_node.tts_server.parts import Parts
from services_node.tts_server.speaking import Manner, Piece, Speech
from wire import telemetry
from wire.errors import ApiError


class ClientStalled(Exception):
    """The client does not fetch what is sent."""


@dataclass(frozen=True, slots=True)
class Part:
    """audio: encoded; it may be empty. words, segments: those that ended in it. duration_seconds: of all so far."""

    audio: bytes
    words: tuple[Word, ...] = ()
    segments: tuple[SaidSegment, ...] = ()
    duration_seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Delivery:
    """kept: whether it comes from the cache. parts: at least one has audio; closing it stops the work."""

    order: Order
    kept: bool
    parts: AsyncIterator[Part]

    @property
    def headers(self) -> dict[str, str]:
        return {
            "x-capibara6-engine": self.order.engine.name,
            "x-capibara6-voice": self.order.voice.header,
            "x-capibara6-sample-rate": str(self.order.wish.format.rate),
            "x-capibara6-cache": "hit" if self.kept else "miss",
        }


@asynccontextmanager
async def delivered(parts: Parts, wish: Wish, *, listener: bool = True) -> AsyncIterator[Delivery]:
    """listener: whether somebody hears it as it is made. Everything that speaking it took is given back at the end.
    Raises ApiError, also while its parts are fetched."""
    settings = parts.settings
    engine = engine_named(wish.engine, parts.engines.infos(), settings.tts_default_engine)
    outcome = "failed"
    limit = asyncio.timeout(settings.tts_request_seconds)
    try:
        with telemetry.span(f"speak {engine.name}", {"capibara6.tts.chars": len(wish.text)}) as step:
            async with limit, _delivered(parts, wish, engine, listener) as delivery:
                step.tell({"capibara6.tts.voice": delivery.order.voice.label, "capibara6.tts.kept": delivery.kept})
                yield delivery
        outcome = "ok"
    except TimeoutError:
        if not limit.expired():
            raise
        outcome = "request_too_long"
        raise errors.request_too_long(settings.tts_request_seconds) from None
    except EngineError as error:
        told = errors.of_engine(error, engine.name)
        outcome = told.code
        raise told from error
    except ApiError as error:
        outcome = error.code
        raise
    except ClientStalled:
        outcome = "client_stalled"
        raise
    except (asyncio.CancelledError, GeneratorExit):
        outcome = "client_left"
        raise
    finally:
        metrics.REQUESTS.labels(engine.name, outcome).inc()


@asynccontextmanager
async def _delivered(parts: Parts, wish: Wish, engine: EngineInfo, listener: bool) -> AsyncIterator[Delivery]:
    began = time.monotonic()
    language = parts.settings.tts_default_language
    order = await ordered(wish, engine, parts.read, language) if engine.voices else None
    kept = _kept(parts, order)
    if order is not None and kept is not None:
        yield Delivery(order, True, _again(kept))
        return
    async with parts.places.place():
        speaker = await parts.engines.get(engine.name)
        if order is None:  # its voices were not known before it ran
            order = await ordered(wish, speaker.info, parts.read, language)
        async with aclosing(_made(parts, order, speaker, began, listener)) as made:
            yield Delivery(order, False, made)


def _kept(parts: Parts, order: Order | None) -> Finished | None:
    found = parts.cache.get(order.key) if order is not None else None
    metrics.CACHE.labels("hit" if found else "miss").inc()
    return found


async def _again(kept: Finished) -> AsyncGenerator[Part, None]:
    yield Part(kept.audio, tuple(kept.words), tuple(kept.segments), kept.duration_seconds)


async def _made(
    parts: Parts, order: Order, speaker: Speaker, began: float, listener: bool
) -> AsyncGenerator[Part, None]:
    """What is made leaves at once, and is kept when it is whole."""
    speech = Speech(
        speaker,
        order.sentences,
        Manner(order.voice.shares, order.wish.speed),
        parts.settings.tts_engine_silence_seconds,
        listener=listener,
    )
    encoder = make_encoder(order.wish.format, speaker.info.sample_rate)
    kept = _Keeping(parts.cache.largest_bytes)
    async with aclosing(speech.pieces()) as pieces:
        async for piece in pieces:
            part = _part(await fed(encoder, piece.pcm), piece, speech)
            if part.audio and not kept.heard:
                metrics.FIRST_AUDIO.labels(order.engine.name).observe(time.monotonic() - began)
            kept.add(part)
            yield part
    last = Part(await asyncio.to_thread(encoder.finish), duration_seconds=speech.seconds)
    kept.add(last)
    _count(order, speech)
    if kept.whole:
        parts.cache.keep(order.key, kept.finished())
    yield last


def _part(audio: bytes, piece: Piece, speech: Speech) -> Part:
    return Part(audio, piece.words, (piece.segment,) if piece.segment else (), speech.seconds)


def _count(order: Order, speech: Speech) -> None:
    if speech.seconds:
        metrics.AUDIO.labels(order.engine.name).inc(speech.seconds)
        metrics.REAL_TIME_FACTOR.labels(order.engine.name).observe(speech.working.seconds / speech.seconds)


class _Keeping:
    """Parts on their way into the cache, dropped when they are more than it would keep."""

    def __init__(self, most_bytes: int) -> None:
        self._parts: list[Part] = []
        self._bytes = 0
        self._most_bytes = most_bytes
        self.heard = False

    @property
    def whole(self) -> bool:
        return self._bytes <= self._most_bytes

    def add(self, part: Part) -> None:
        self.heard = self.heard or bool(part.audio)
        self._bytes += len(part.audio)
        if self.whole:
            self._parts.append(part)
        else:
            self._parts.clear()

    def finished(self) -> Finished:
        return whole_of(self._parts)


def whole_of(parts: list[Part]) -> Finished:
    """All parts of a delivery as one."""
    return Finished(
        b"".join(part.audio for part in parts),
        parts[-1].duration_seconds if parts else 0.0,
        tuple(word for part in parts for word in part.words),
        tuple(segment for part in parts for segment in part.segments),
    )
