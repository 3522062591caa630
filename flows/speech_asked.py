"""What `speech-batch` was asked, as it stands in a file of its run: written by the API, read by the worker."""

from __future__ import annotations

import json
import uuid
from dataclasses import asdict, dataclass

from flows.voice import VoiceWish

ASKED = "speech.json"


@dataclass(frozen=True, slots=True)
class Asked:
    """name: of the file to be made, without its ending. conversation_id: the one the text was said in."""

    text: str
    wish: VoiceWish
    name: str
    captions: bool
    conversation_id: uuid.UUID | None = None


def written_asked(asked: Asked) -> bytes:
    said_in = str(asked.conversation_id) if asked.conversation_id is not None else None
    return json.dumps(asdict(asked) | {"conversation_id": said_in}, ensure_ascii=False).encode()


def read_asked(data: bytes) -> Asked:
    told = json.loads(data)
    said_in = uuid.UUID(told["conversation_id"]) if told["conversation_id"] else None
    return Asked(told["text"], VoiceWish(**told["wish"]), told["name"], told["captions"], said_in)
