"""OpenAI's routes of speech, and what goes beside them: captions, voices, engines."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from services_node.tts_server.asking import OPENAI_MODELS, wish_of
from services_node.tts_server.engines.contract import EngineInfo, Voice
from services_node.tts_server.parts import Parts, parts_of
from services_node.tts_server.schemas import SpeechRequest
from services_node.tts_server.telling import AudioStream, EventStream, Whole, captions
from services_node.tts_server.voices import default_languages, openai_names
from wire.errors import NotFound

router = APIRouter(prefix="/v1", tags=["speech"])


@router.post("/audio/speech", response_class=Response)
async def speech(asked: SpeechRequest, request: Request) -> Response:
    """Speaks a text. The audio is streamed while it is made; headers say which engine and voice speak."""
    parts = parts_of(request)
    wish = wish_of(asked, parts.settings.tts_input_chars)
    return EventStream(parts, wish) if wish.in_events else AudioStream(parts, wish)


@router.post("/audio/captions", response_class=Response)
async def captioned(asked: SpeechRequest, request: Request) -> Response:
    """The same with the times of its words and sentences: one object, or events with those of each piece."""
    parts = parts_of(request)
    wish = wish_of(asked, parts.settings.tts_input_chars)
    return EventStream(parts, wish, with_words=True) if wish.in_events else Whole(parts, wish, captions)


@router.get("/audio/voices")
async def voices(request: Request, model: str | None = None) -> dict[str, Any]:
    """Voices of the engines that are here. `aliases`: by which voice OpenAI's and older names are answered."""
    infos = [info for info in parts_of(request).engines.infos() if model in (None, info.name)]
    return {
        "voices": [_voice(voice, info) for info in infos for voice in info.voices],
        "aliases": {info.name: openai_names(info) for info in infos if info.voices},
    }


@router.get("/models")
async def models(request: Request) -> dict[str, Any]:
    """The engines, with their states, and what is to be done for those that are missing."""
    parts = parts_of(request)
    return {"object": "list", "data": [_model(info, parts) for info in parts.engines.infos()]}


@router.get("/models/{model}")
async def model(model: str, request: Request) -> dict[str, Any]:
    parts = parts_of(request)
    wanted = parts.settings.tts_default_engine if model in OPENAI_MODELS else model
    for info in parts.engines.infos():
        if info.name == wanted:
            return _model(info, parts)
    raise NotFound(f"There is no speech model {model[:80]!r} here.", code="unknown_model", param="model")


def _voice(voice: Voice, info: EngineInfo) -> dict[str, Any]:
    return {
        "id": voice.id,
        "name": voice.id.rpartition("_")[2].title(),
        "language": voice.language,
        "engine": info.name,
        "gender": voice.gender,
        "default_for": default_languages(voice, info),
    }


def _model(info: EngineInfo, parts: Parts) -> dict[str, Any]:
    default = info.name == parts.settings.tts_default_engine
    return {
        "id": info.name,
        "object": "model",
        "created": 0,
        "owned_by": "capibara6",
        "state": info.state,
        "mend": info.mend or None,
        "default": default,
        "aliases": list(OPENAI_MODELS) if default else [],
        "languages": list(info.languages),
        "speeds": list(info.speeds),
        "mixes_voices": info.mixes,
        "voices": len(info.voices),
    }
