"""`speak`: a text as audio, by the TTS server."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from services_node.mcp_server.asking import told
from services_node.mcp_server.registry import AudioContent, Call, Registry, TextContent, ToolFailed, ToolReply
from wire.clients.speech import NOTHING_TO_SAY
from wire.context import on_behalf_headers
from wire.errors import ApiError

registry = Registry()

LONGEST_CHARS = 4000
MEDIA_TYPE = "audio/mpeg"


class SpokenText(BaseModel):
    """About the audio; itself it is the result's content."""

    engine: str = Field(description="What spoke it.")
    voice: str
    media_type: str
    size_bytes: int

    def text(self) -> str:
        return f"The text was spoken by {self.voice} ({self.engine}); the audio is attached."


@registry.tool(
    title="Read aloud",
    read_only=True,
    idempotent=True,
    timeout_seconds=120,
    cost="moderate",
    output=SpokenText,
    examples=(
        ("Lee en voz alta: buenos días a todos", {"text": "buenos días a todos"}),
        ("Read this aloud: the train leaves at nine", {"text": "the train leaves at nine"}),
    ),
    keywords={
        "es": ("voz alta", "leer en voz alta", "audio", "voz", "habla", "pronuncia", "narra", "locución"),
        "en": ("aloud", "read aloud", "out loud", "speak", "speech", "audio", "voice", "pronounce", "narrate"),
    },
)
async def speak(
    text: Annotated[str, Field(min_length=1, max_length=LONGEST_CHARS, description="What is to be heard.")],
    voice: Annotated[
        str | None, Field(max_length=200, description="A voice's name. Default: the server's own.")
    ] = None,
    language: Annotated[Literal["es", "en"] | None, Field(description="Default: found out for each sentence.")] = None,
    *,
    call: Call,
) -> ToolReply:
    """Speaks a text and returns the audio (MP3)."""
    given = {"voice": voice, "language": language}
    request: dict[str, Any] = {"input": text, **{name: value for name, value in given.items() if value is not None}}
    most, audio = call.parts.settings.mcp_result_binary_bytes, bytearray()
    try:
        async with call.parts.speech.speak(request, on_behalf_headers()) as stream:
            async for chunk in stream.chunks:
                audio += chunk
                if len(audio) > most:  # leaving stops the speaking
                    raise ToolFailed(
                        f"Its audio has more than {most:,} bytes, which fit no result. Speak less of it, or start "
                        'the flow `speech` with {"text": …}: it keeps the audio as a file of its run.'
                    )
            spoken = SpokenText(engine=stream.engine, voice=stream.voice, media_type=MEDIA_TYPE, size_bytes=len(audio))
    except ApiError as error:
        reason = "There is nothing in `text` that can be spoken." if error.code == NOTHING_TO_SAY else told(error)
        raise ToolFailed(reason) from None
    sound = AudioContent(data=base64.b64encode(audio).decode(), mime_type=MEDIA_TYPE)
    return ToolReply(content=(TextContent(text=spoken.text()), sound), structured=spoken)
