"""What a run of code tells while it runs, what is known of it, and what of it is kept. Plain values and decisions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

from db.records import FileRecord
from flows.sandbox import CodeError, Entry, RawResult, TextStream
from flows.work import Account
from stack.settings import Settings

ENDINGS = {"text": "txt", "html": "html", "markdown": "md", "svg": "svg", "latex": "tex", "javascript": "js"}


@dataclass(frozen=True, slots=True)
class CodeLimits:
    """The settings of the same names."""

    sandbox_wait_seconds: float
    conversation_idle_seconds: float
    conversation_queue_limit: int
    conversation_wait_seconds: float
    output_bytes: int
    inline_bytes: int
    output_files: int
    output_file_bytes: int
    output_depth: int

    @classmethod
    def of(cls, settings: Settings) -> CodeLimits:
        return cls(**{name: getattr(settings, f"code_{name}") for name in cls.__slots__})


@dataclass(frozen=True, slots=True)
class CodeStarted:
    """The sandbox is there."""

    opens: ClassVar[bool] = True
    sandbox_id: str
    notice: str | None


@dataclass(frozen=True, slots=True)
class Text:
    opens: ClassVar[bool] = False
    stream: TextStream
    text: str


@dataclass(frozen=True, slots=True)
class FormFile:
    """A form of a result that was kept as a file."""

    form: str
    file: FileRecord


@dataclass(frozen=True, slots=True)
class CodeResult:
    """forms: what stands in the reply itself, by form. files: the forms that became files."""

    opens: ClassVar[bool] = False
    is_main_result: bool
    forms: Mapping[str, Any]
    files: tuple[FormFile, ...]


@dataclass(frozen=True, slots=True)
class Raised:
    opens: ClassVar[bool] = False
    error: CodeError


@dataclass(frozen=True, slots=True)
class FileKept:
    opens: ClassVar[bool] = False
    file: FileRecord


CodeEvent = CodeStarted | Text | CodeResult | Raised | FileKept


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A file that was not kept, and why."""

    name: str
    size_bytes: int
    why: str


@dataclass(slots=True)
class CodeAccount(Account):
    """What is known of a run of code so far. output_bytes: of stdout and stderr together, what was cut included."""

    sandbox_id: str | None = None
    notice: str | None = None
    said: dict[TextStream, list[str]] = field(default_factory=lambda: {"stdout": [], "stderr": []})
    output_bytes: int = 0
    output_cut: bool = False
    results: list[CodeResult] = field(default_factory=list)
    error: CodeError | None = None
    execution_count: int | None = None
    files: list[FileRecord] = field(default_factory=list)
    files_left_out: list[LeftOut] = field(default_factory=list)

    def text(self, stream: TextStream) -> str:
        return "".join(self.said[stream])

    def take(self, stream: TextStream, text: str, most_bytes: int) -> str:
        """Notes output and returns what of it is passed on: nothing beyond `most_bytes`."""
        room = max(0, most_bytes - self.output_bytes)
        size = len(text.encode(errors="replace"))
        self.output_bytes += size
        if size > room:
            self.output_cut = True
            text = text.encode(errors="replace")[:room].decode(errors="ignore")
        if text:
            self.said[stream].append(text)
        return text

    def room(self, limits: CodeLimits, name: str, size_bytes: int) -> int:
        """Bytes that a further file may have; 0, and noted why, for one that is not kept."""
        left = limits.output_file_bytes - sum(file.size_bytes for file in self.files)
        if len(self.files) >= limits.output_files:
            why = f"a run keeps at most {limits.output_files} files (CAPIBARA6_CODE_OUTPUT_FILES)"
        elif size_bytes > left:
            why = f"a run keeps at most {limits.output_file_bytes} bytes (CAPIBARA6_CODE_OUTPUT_FILE_BYTES)"
        else:
            return left
        self.files_left_out.append(LeftOut(name, size_bytes, why))
        return 0


def changed(before: Mapping[str, Entry], after: Mapping[str, Entry]) -> list[Entry]:
    """Files that are new or not as they were, by path."""
    return [entry for path, entry in sorted(after.items()) if before.get(path) != entry]


def sorted_forms(raw: RawResult, inline_bytes: int) -> tuple[dict[str, Any], dict[str, bytes]]:
    """A result's forms: those that stand in the reply, and those that become files (binary ones, and long texts)."""
    inline: dict[str, Any] = {}
    as_files = dict(raw.binaries)
    for form, value in raw.texts.items():
        written = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        data = written.encode(errors="replace")
        if len(data) <= inline_bytes:
            # NaN and the infinities, which no JSON reply may hold, become null.
            inline[form] = data.decode() if isinstance(value, str) else json.loads(data, parse_constant=lambda _: None)
        else:
            as_files[form] = data
    return inline, as_files


def figure_name(number: int, form: str) -> str:
    return f"result-{number}.{ENDINGS.get(form, form if form in {'png', 'jpeg', 'pdf'} else 'json')}"
