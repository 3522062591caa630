"""How a delivery is told: a stream of audio, server-sent events as OpenAI has them, or one object.

The status waits for the first audio, so that every error before it is told by one. A client that goes away ends the
work at once.
"""

from __future__ import annotations

import asyncio
import logging
from base64 import b64encode
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import asdict
from typing import Any

from starlette.responses import JSONResponse, Response
from starlette.types import Message, Receive, Scope, Send

from services_node.tts_server.asking import Wish
from services_node.tts_server.cache import SaidSegment
from services_node.tts_server.delivery import ClientStalled, Delivery, Part, delivered, whole_of
from services_node.tts_server.encoding import sized
from services_node.tts_server.engines.contract import Word
from services_node.tts_server.parts import Parts
from wire.errors import ApiError, openai_error
from wire.serve import abort_connection
from wire.sse import HEADERS, MEDIA_TYPE, encode

log = logging.getLogger("services_node.tts_server")

_STALLED_SECONDS = 60.0  # a client that fetches nothing for so long has gone; a player that plays fetches all the time
_GONE_SECONDS = 5.0  # for the server to tell that a connection it ended is gone
_KEPT_PIECE_BYTES = 64 * 2**10  # of kept audio, sent at once
_DIGITS = 3  # of seconds: milliseconds


class _Told(Response):
    """A reply that works while it is told, and only while somebody listens."""

    def __init__(self, parts: Parts, wish: Wish) -> None:
        super().__init__()
        self._parts = parts
        self._wish = wish

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        telling = asyncio.create_task(self._tell(scope, receive, _patient(send)))
        gone = asyncio.create_task(_until_gone(receive))
        try:
            await asyncio.wait({telling, gone}, return_when=asyncio.FIRST_COMPLETED)
            if not telling.done():
                log.info("a client left before its speech was told")
            elif not await telling:
                await asyncio.wait({gone}, timeout=_GONE_SECONDS)
        except ClientStalled:
            log.warning("a client fetched nothing for too long", extra={"seconds": _STALLED_SECONDS})
            abort_connection(scope)
        finally:
            for task in (telling, gone):
                task.cancel()
            await asyncio.gather(telling, gone, return_exceptions=True)

    async def _tell(self, scope: Scope, receive: Receive, send: Send) -> bool:
        """False where it ended the connection. Raises ApiError while nothing was sent."""
        raise NotImplementedError


class AudioStream(_Told):
    """The audio itself. What fails after its first byte breaks the connection off: its decoder notices."""

    async def _tell(self, scope: Scope, receive: Receive, send: Send) -> bool:
        begun = False
        try:
            async with delivered(self._parts, self._wish, listener=self._wish.listener) as delivery:
                async for part in delivery.parts:
                    for audio in _sendable(part.audio):
                        if not begun:
                            begun = True
                            await _start(send, self._wish.format.media_type, delivery)
                        await send({"type": "http.response.body", "body": audio, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except ApiError as error:
            if not begun or not abort_connection(scope):
                raise
            log.warning("a stream was broken off", extra={"code": error.code})  # its words may quote the text
            return False
        return True


class EventStream(_Told):
    """OpenAI's events. with_words: the times of words and sentences too. A failure is an `error` event."""

    def __init__(self, parts: Parts, wish: Wish, *, with_words: bool = False) -> None:
        super().__init__(parts, wish)
        self._with_words = with_words

    async def _tell(self, scope: Scope, receive: Receive, send: Send) -> bool:
        begun = False
        try:
            async with delivered(self._parts, self._wish, listener=self._wish.listener) as delivery:
                async for event in _events(delivery, with_words=self._with_words):
                    if not begun:
                        begun = True
                        await _start(send, MEDIA_TYPE, delivery, HEADERS)
                    await send({"type": "http.response.body", "body": encode(event), "more_body": True})
        except ApiError as error:
            if not begun:
                raise
            event = {"type": "error", **openai_error(error)}
            await send({"type": "http.response.body", "body": encode(event), "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
        return True


class Whole(_Told):
    """All of it at once, as `make` says: a reply made of the delivery and its whole audio, with the words' times."""

    def __init__(self, parts: Parts, wish: Wish, make: Callable[[Delivery, Part], Response]) -> None:
        super().__init__(parts, wish)
        self._make = make

    async def _tell(self, scope: Scope, receive: Receive, send: Send) -> bool:
        async with delivered(self._parts, self._wish, listener=False) as delivery:
            made = whole_of([part async for part in delivery.parts])
        audio = sized(self._wish.format, made.audio)
        reply = self._make(delivery, Part(audio, tuple(made.words), tuple(made.segments), made.duration_seconds))
        reply.headers.update(delivery.headers)
        await reply(scope, receive, send)
        return True


def captions(delivery: Delivery, whole: Part) -> Response:
    """Audio with the times of its words and sentences."""
    order = delivery.order
    return JSONResponse(
        {
            "audio": b64encode(whole.audio).decode(),
            "format": order.wish.format.name,
            "sample_rate": order.wish.format.rate,
            "duration_seconds": _seconds(whole.duration_seconds),
            "engine": order.engine.name,
            "voice": order.voice.label,
            "words": _words(whole.words),
            "segments": _segments(whole.segments),
        }
    )


async def _events(delivery: Delivery, *, with_words: bool) -> AsyncIterator[dict[str, Any]]:
    """A delta for each part with audio, and a last one for what is told after it."""
    order, seconds = delivery.order, 0.0
    words: tuple[Word, ...] = ()
    segments: tuple[SaidSegment, ...] = ()
    async for part in delivery.parts:
        words, segments, seconds = words + part.words, segments + part.segments, part.duration_seconds
        if not part.audio:
            continue
        event: dict[str, Any] = {"type": "speech.audio.delta", "audio": b64encode(part.audio).decode()}
        if with_words:
            event |= {"words": _words(words), "segments": _segments(segments)}
            words, segments = (), ()
        yield event
    # OpenAI counts tokens; these engines have none: characters are counted, and nothing is made up for the audio.
    chars = len(order.wish.text)
    usage = {"input_tokens": chars, "output_tokens": 0, "total_tokens": chars}
    done: dict[str, Any] = {"type": "speech.audio.done", "usage": usage, "duration_seconds": _seconds(seconds)}
    done |= {"engine": order.engine.name, "voice": order.voice.label}
    if with_words:
        done |= {"words": _words(words), "segments": _segments(segments)}
    yield done


def _words(words: Iterable[Word]) -> list[dict[str, Any]]:
    return [{"word": one.text, "start": _seconds(one.start), "end": _seconds(one.end)} for one in words]


def _segments(segments: Iterable[SaidSegment]) -> list[dict[str, Any]]:
    return [asdict(one) | {"start": _seconds(one.start), "end": _seconds(one.end)} for one in segments]


def _seconds(value: float) -> float:
    return round(value, _DIGITS)


def _sendable(audio: bytes) -> list[bytes]:
    """Kept audio comes in one piece, which a slow client should not hold in the server's buffers."""
    return [audio[start : start + _KEPT_PIECE_BYTES] for start in range(0, len(audio), _KEPT_PIECE_BYTES)]


async def _start(send: Send, media_type: str, delivery: Delivery, more: dict[str, str] | None = None) -> None:
    headers = {"content-type": media_type, **delivery.headers, **(more or {})}
    encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": 200, "headers": encoded})


def _patient(send: Send) -> Send:
    """Sends; raises ClientStalled where that takes too long: a place is not held for somebody who does not listen."""

    async def sent(message: Message) -> None:
        limit = asyncio.timeout(_STALLED_SECONDS)
        try:
            async with limit:
                await send(message)
        except TimeoutError:
            if limit.expired():
                raise ClientStalled from None
            raise

    return sent


async def _until_gone(receive: Receive) -> None:
    """Returns when the client has gone away. The request's body has been read."""
    while (await receive())["type"] != "http.disconnect":
        continue
