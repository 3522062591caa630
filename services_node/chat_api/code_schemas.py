"""What clients send to have code run, and what they get. As `schemas`: unknown fields are ignored, known ones typed."""

from __future__ import annotations

import base64
import binascii
import uuid
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictBool, field_validator, model_validator

from services_node.chat_api.schemas import Number, Text, storable

MAX_NAME_BYTES = 255  # what file systems take
Language = Literal["python", "bash", "javascript", "typescript"]
ALIASES = {"py": "python", "python3": "python", "sh": "bash", "shell": "bash", "js": "javascript", "ts": "typescript"}


def home_path(name: str) -> str:
    """A path below a sandbox's home. Raises ValueError for one that leads elsewhere."""
    path = PurePosixPath(storable(name))
    if not path.parts or path.is_absolute() or ".." in path.parts or len(name.encode()) > MAX_NAME_BYTES:
        raise ValueError("is not a path below the sandbox's home (relative, without `..`, at most 255 bytes)")
    return str(path)


class FileIn(BaseModel):
    """A file for the sandbox: exactly one of `content` (text), `content_base64`, `file_id`."""

    model_config = ConfigDict(extra="ignore")

    name: Text
    content: Text | None = None
    content_base64: Text | None = None
    file_id: uuid.UUID | None = None

    _below_home = field_validator("name")(home_path)

    @model_validator(mode="after")
    def _one_source(self) -> FileIn:
        if sum(one is not None for one in (self.content, self.content_base64, self.file_id)) != 1:
            raise ValueError("give one of `content`, `content_base64` and `file_id`")
        return self

    @field_validator("content_base64")
    @classmethod
    def _is_base64(cls, text: str | None) -> str | None:
        try:
            base64.b64decode(text or "", validate=True)
        except binascii.Error as error:
            raise ValueError(f"is not base64: {error}") from None
        return text

    def data(self) -> bytes:
        """The bytes that were sent along; none for a stored file."""
        if self.content_base64 is not None:
            return base64.b64decode(self.content_base64)
        return (self.content or "").encode(errors="replace")


class CodeJob(BaseModel):
    """A piece of code and what it needs."""

    model_config = ConfigDict(extra="ignore")

    code: Annotated[Text, Field(min_length=1)]
    language: Language = "python"
    files: list[FileIn] = Field(default_factory=list)
    timeout_seconds: Annotated[Number, Field(gt=0)] | None = None

    _storable = field_validator("code")(storable)

    @field_validator("language", mode="before")
    @classmethod
    def _by_alias(cls, language: Any) -> Any:
        if not language:
            return "python"
        return ALIASES.get(language.lower(), language.lower()) if isinstance(language, str) else language


class CodeRunRequest(CodeJob):
    conversation_id: uuid.UUID | None = None
    stream: StrictBool = False


class OlderCodeRequest(CodeJob):
    """`POST /api/e2b/execute` of older clients, which may send `language: null`, and a `template` that chose limits."""

    template: str | None = None
