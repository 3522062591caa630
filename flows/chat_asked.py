"""What `chat-batch` was asked, as it stands in a file of its run: written by the API, read by the worker."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from flows.item_files import Form, Line, Question, WrongLine

ASKED = "chat-batch.json"


@dataclass(frozen=True, slots=True)
class Asked:
    """title: what it is called. form: of the file it came in; None where it came without one. model, max_tokens,
    temperature: for items that have none of their own. lines: items and wrong lines, in order."""

    title: str
    form: Form | None
    lines: tuple[Line, ...]
    model: str = "auto"
    max_tokens: int | None = None
    temperature: float | None = None

    @property
    def questions(self) -> dict[int, Question]:
        return {line.number: line for line in self.lines if isinstance(line, Question)}

    @property
    def wrong(self) -> Sequence[WrongLine]:
        return [line for line in self.lines if isinstance(line, WrongLine)]


def written_asked(asked: Asked) -> bytes:
    return json.dumps(asdict(asked), ensure_ascii=False).encode()


def read_asked(data: bytes) -> Asked:
    told = json.loads(data)
    lines = tuple(
        WrongLine(**line) if "reason" in line else Question(**{**line, "messages": tuple(line["messages"])})
        for line in told["lines"]
    )
    return Asked(**{**told, "lines": lines})
