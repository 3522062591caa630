"""`/tts`, `/voices`, `/preload`, `/health`: what clients of the team's earlier speech servers call.

`/tts` answers with what both of them did: audio under two names, or the bare WAV that their page expects.
"""

from __future__ import annotations

from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response

from services_node.tts_server import errors
from services_node.tts_server.asking import engine_named, wish_of
from services_node.tts_server.delivery import Delivery, Part
from services_node.tts_server.engines.contract import EngineError
from services_node.tts_server.parts import parts_of
from services_node.tts_server.schemas import OlderRequest, PreloadRequest, SpeechRequest
from services_node.tts_server.telling import Whole
from services_node.tts_server.voices import TEAMS, openai_names
from wire.errors import ApiError

router = APIRouter(tags=["older clients"])

WAV = "audio/wav"
_NAMES = {"input": "text", "voice": "voice_id"}  # fields by the names of these clients


@router.post("/tts", response_class=Response)
async def tts(asked: OlderRequest, request: Request) -> Response:
    """A text as a WAV: in JSON, or bare where `Accept` asks for `audio/wav`."""
    parts = parts_of(request)
    wanted = SpeechRequest(
        input=asked.text,
        model=asked.model,
        voice=asked.voice_id,
        response_format="wav",
        speed=asked.speed,
        language=asked.language,
    )
    try:
        wish = wish_of(wanted, parts.settings.tts_input_chars)
    except ApiError as error:
        error.param = _NAMES.get(error.param or "", error.param)
        raise
    bare = WAV in request.headers.get("accept", "")
    return Whole(parts, wish, _bare if bare else _told)


@router.get("/voices")
async def voices(request: Request) -> dict[str, Any]:
    """Voices by name: the engines' own, and the team's names for them."""
    parts = parts_of(request)
    known: dict[str, dict[str, Any]] = {}
    for info in parts.engines.infos():
        for voice in info.voices:
            known[voice.id] = {
                "name": voice.id, "language": voice.language, "gender": voice.gender, "engine": info.name,
            }  # fmt: skip
        if info.name == parts.settings.tts_default_engine:
            answered = openai_names(info)
            for name, alias in TEAMS.items():
                if name in answered:
                    by = answered[name]
                    known[name] = {
                        "name": name, "language": alias.language or "es", "gender": alias.gender,
                        "engine": info.name, "answered_by": by.get(alias.language or "es", next(iter(by.values()))),
                    }  # fmt: skip
    return {
        "status": "success",
        "voices": {"predefined": known, "custom": {}},
        "total_predefined": len(known),
        "total_custom": 0,
    }


@router.post("/preload")
async def preload(request: Request, asked: PreloadRequest | None = None) -> dict[str, Any]:
    """Starts an engine, the default one where none is named, and answers when it is ready."""
    parts = parts_of(request)
    name = asked.model if asked else ""
    info = engine_named(name, parts.engines.infos(), parts.settings.tts_default_engine)
    try:
        speaker = await parts.engines.get(info.name)
    except EngineError as error:
        raise errors.of_engine(error, info.name) from error
    return {
        "status": "success",
        "success": True,
        "model": info.name,
        "provider": info.name,
        "state": speaker.info.state,
        "voices": len(speaker.info.voices),
    }


@router.get("/health")
async def health(request: Request) -> dict[str, Any]:
    parts = parts_of(request)
    infos = {info.name: info.state for info in parts.engines.infos()}
    default = parts.settings.tts_default_engine
    state = infos.get(default, "missing")
    return {
        "status": {"ready": "healthy", "idle": "healthy", "starting": "starting"}.get(state, "unhealthy"),
        "service": "tts-capibara6",
        "model": default,
        "provider": default,
        "device": "cpu",
        "engines": infos,
        "timestamp": datetime.now(UTC).isoformat(),
    }


def _bare(_: Delivery, whole: Part) -> Response:
    return Response(whole.audio, media_type=WAV)


def _told(delivery: Delivery, whole: Part) -> Response:
    order, audio = delivery.order, b64encode(whole.audio).decode()
    engine, chars = order.engine.name, len(order.wish.text)
    return JSONResponse(
        {
            "status": "success",
            "audioContent": audio,
            "audio": audio,
            "format": "wav",
            "sample_rate": order.wish.format.rate,
            "provider": engine,
            "model": engine,
            "voice": order.voice.label,
            "language": order.wish.language or order.sentences[0].language,
            "characters": chars,
            "text_length": chars,
            "duration_seconds": round(whole.duration_seconds, 3),
            "device": "cpu",
        }
    )
