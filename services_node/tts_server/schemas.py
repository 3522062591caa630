"""Bodies of requests, as OpenAI and the team's older clients send them. Other fields are passed over."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, Field


def _name_of_voice(value: Any) -> Any:
    """OpenAI's `{"id": …}` for a voice of one's own is its name."""
    if isinstance(value, dict) and isinstance(value.get("id"), str):
        return value["id"]
    if value is None or isinstance(value, str):
        return value
    raise ValueError('it is a name, or {"id": name}')


VoiceName = Annotated[str | None, BeforeValidator(_name_of_voice)]


def _absent(default: Any) -> BeforeValidator:
    """null is what clients send for what they leave out."""
    return BeforeValidator(lambda value: default if value is None else value)


class SpeechRequest(BaseModel):
    """Of `/v1/audio/speech` and `/v1/audio/captions`."""

    input: str = Field(description="What is spoken; Markdown, `[pause:1.5s]`, numbers and dates are read sensibly.")
    model: Annotated[str, _absent("")] = Field(
        "", description="`kokoro` (also as `tts-1`, `tts-1-hd`, `gpt-4o-mini-tts`), `piper`, `kyutai`, `coqui`."
    )
    voice: VoiceName = Field(None, description="A voice, OpenAI's name for one, or a mix `a(2)+b(1)`.")
    response_format: Annotated[str, _absent("mp3")] = Field("mp3", description="mp3, opus, aac, flac, wav or pcm.")
    speed: Annotated[float, _absent(1.0)] = Field(1.0, description="0.25 to 4; engines may have a narrower range.")
    stream_format: Annotated[str, _absent("audio")] = Field("audio", description="`audio`, or `sse`: events.")
    language: str | None = Field(
        None,
        validation_alias=AliasChoices("language", "lang_code"),
        description="`es` or `en`; unset: told from each sentence.",
    )
    instructions: str | None = Field(None, description="Accepted for OpenAI's clients; no engine here follows any.")
    normalize: Annotated[bool, _absent(True)] = Field(
        True, description="Whether numbers, dates, abbreviations and the like are written out before they are spoken."
    )
    listener: Annotated[bool, _absent(True)] = Field(
        True, description="Whether somebody hears it as it is made; if not, those who are heard go first."
    )


class OlderRequest(BaseModel):
    """Of `/tts`. voice_id: the team's names (`sofia`, `carlos`, `kyutai-default`) or a voice here."""

    text: str
    language: Annotated[str, _absent("es")] = "es"
    voice_id: VoiceName = Field(None, validation_alias=AliasChoices("voice_id", "voice"))
    model: Annotated[str, _absent("")] = ""
    speed: Annotated[float, _absent(1.0)] = 1.0


class PreloadRequest(BaseModel):
    model: Annotated[str, _absent("")] = ""
