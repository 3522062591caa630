"""How speech is wished, of a chat's answer and of a text."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from flows.audio import AudioFormat
from flows.voice import VoiceWish

Name = Annotated[str, Field(strict=True, min_length=1, max_length=200)]


class Speak(BaseModel):
    """How a text is spoken. What is left out is the TTS server's to choose: the voice, and the language of each
    sentence. model: an engine of it."""

    model_config = ConfigDict(extra="ignore")

    voice: Name | None = None
    format: AudioFormat = "mp3"
    language: Literal["es", "en"] | None = None
    speed: Annotated[float, Field(strict=True, ge=0.25, le=4)] | None = None
    model: Name | None = None

    def wish(self) -> VoiceWish:
        return VoiceWish(self.voice, self.format, self.language, self.speed, self.model)


def true_or_an_object(value: object) -> object:
    """Anything else is said in one message, not in one for each form it might have had."""
    if value is not None and not isinstance(value, bool | dict | Speak):
        raise ValueError("must be true, false, or an object with voice, format, language, speed or model")
    return Speak.model_validate(value) if isinstance(value, dict) else value
