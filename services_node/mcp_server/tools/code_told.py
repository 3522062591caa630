"""What code is given and what it comes to, as a model reads it."""

from __future__ import annotations

import base64
import binascii
import re
import uuid
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

MAX_NAME_BYTES = 255
TRACEBACK_CHARS = 2000
PART_CHARS = 8000  # of what was printed, and of each result: the end of it, where the answer is
_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class GivenFile(BaseModel):
    """A file for the code: a name and one of content, content_base64, file_id."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(description="A relative path, as data.csv")
    content: str | None = Field(None, description="Its text.")
    content_base64: str | None = Field(None, description="Its bytes.")
    file_id: uuid.UUID | None = Field(None, description="A stored file's id.")

    @field_validator("name")
    @classmethod
    def _below_home(cls, name: str) -> str:
        path = PurePosixPath(name)
        bad = path.is_absolute() or ".." in path.parts or not path.parts or "\x00" in name
        if bad or len(name.encode(errors="replace")) > MAX_NAME_BYTES:
            raise ValueError("must be a relative path without `..`, of at most 255 bytes")
        return str(path)

    @field_validator("content_base64")
    @classmethod
    def _is_base64(cls, text: str | None) -> str | None:
        try:
            base64.b64decode(text or "", validate=True)
        except (binascii.Error, ValueError):
            raise ValueError("is not base64") from None
        return text

    @model_validator(mode="after")
    def _one_source(self) -> GivenFile:
        if sum(one is not None for one in (self.content, self.content_base64, self.file_id)) != 1:
            raise ValueError("give exactly one of `content`, `content_base64` and `file_id`")
        return self


class CodeFault(BaseModel):
    name: str
    value: str
    traceback: str


class MadeFile(BaseModel):
    id: str
    name: str
    media_type: str
    size_bytes: int
    uri: str


class CodeOutcome(BaseModel):
    """What code came to."""

    ok: bool = Field(description="Whether the code ended without an error.")
    stdout: str
    stderr: str
    results: list[str] = Field(description="Values it displayed, as text.")
    error: CodeFault | None = None
    files: list[MadeFile] = Field(default_factory=list, description="Files it made, figures among them.")
    left_out: list[str] = Field(default_factory=list, description="Files that were not kept, and why.")
    output_cut: bool = False
    notice: str | None = None
    run_id: str
    duration_ms: float

    def text(self) -> str:
        parts = []
        if self.error is not None:
            parts.append(f"The code ended with {self.error.name}: {self.error.value}\n{self.error.traceback}".rstrip())
        if self.stdout:
            parts.append(f"Output:\n{self.stdout.rstrip()}")
        if self.stderr:
            parts.append(f"Error output:\n{self.stderr.rstrip()}")
        parts += [f"Result:\n{one}" for one in self.results]
        if self.files:
            parts.append(
                "Files:\n" + "\n".join(f"- {one.name} ({one.size_bytes} bytes): {one.uri}" for one in self.files)
            )
        if self.left_out:
            parts.append("Not kept:\n" + "\n".join(f"- {one}" for one in self.left_out))
        if self.notice:
            parts.append(self.notice)
        return "\n\n".join(parts) or "The code ended without printing anything: print what you want to see."


def outcome_of(reply: Mapping[str, Any]) -> CodeOutcome:
    """From the reply of `POST /api/code/run` (docs/code-execution.md)."""
    error = reply.get("error")
    return CodeOutcome(
        ok=error is None,
        stdout=_ending(reply.get("stdout")),
        stderr=_ending(reply.get("stderr")),
        results=[shown for one in reply.get("results") or () if (shown := _ending(_shown(one)))],
        error=_fault(error) if error else None,
        files=[
            MadeFile(
                id=str(one["id"]),
                name=str(one["name"]),
                media_type=str(one["media_type"]),
                size_bytes=int(one["size_bytes"]),
                uri=f"capibara6://files/{one['id']}",
            )
            for one in reply.get("files") or ()
        ],
        left_out=[f"{one.get('name')}: {one.get('why')}" for one in reply.get("files_left_out") or ()],
        output_cut=bool(reply.get("output_cut")),
        notice=reply.get("notice"),
        run_id=str(reply.get("run_id")),
        duration_ms=float(reply.get("duration_ms") or 0),
    )


def _fault(error: Mapping[str, Any]) -> CodeFault:
    traceback = _ANSI.sub("", str(error.get("traceback") or ""))
    return CodeFault(
        name=str(error.get("name")),
        value=_ending(error.get("value"), TRACEBACK_CHARS),
        traceback=_ending(traceback, TRACEBACK_CHARS),
    )


def _shown(result: Mapping[str, Any]) -> str:
    for form in ("text", "markdown", "latex", "json", "html"):
        if result.get(form) is not None:
            return str(result[form])
    return ""


def _ending(text: Any, most: int = PART_CHARS) -> str:
    words = str(text or "")
    return (
        words if len(words) <= most else f"[{len(words) - most} characters before this are left out]\n{words[-most:]}"
    )
