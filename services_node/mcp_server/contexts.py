"""The team's context documents: Markdown files of a folder, and the current date.

A document begins with lines between two `---`: `id`, `name`, `description`, `keywords_es`, `keywords_en` (the last two
separated by commas). A file that is no document is told in the log and left out. Changes are noticed when asked again.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from services_node.mcp_server.tools.dates_told import told_in
from wire.keywords import fitting

log = logging.getLogger("services_node.mcp_server")

CURRENT_DATE = "current_date"
MOST_DOCUMENTS = 200
_ID = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


@dataclass(frozen=True, slots=True)
class ContextDocument:
    """keywords: phrases of both languages, as written. text: Markdown, without the head."""

    id: str
    name: str
    description: str
    keywords: tuple[str, ...]
    text: str


class ContextLibrary:
    """A folder's documents, read anew when a file's time or size changes. For several threads."""

    def __init__(
        self,
        folder: Path,
        *,
        most_bytes: int,
        zone: tzinfo = UTC,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        self._zone = zone
        self._now = now
        self._lock = threading.Lock()
        self._seen: dict[Path, tuple[int, int]] = {}
        self._kept: dict[Path, ContextDocument] = {}

    def list(self) -> Sequence[ContextDocument]:
        """Every document by its id, the computed one last."""
        documents = self._documents()
        return [documents[one] for one in sorted(documents)] + [self._date()]

    def read(self, context_id: str) -> str:
        """A document's Markdown. Raises KeyError for an id that no document has: an id is never a path."""
        if context_id == CURRENT_DATE:
            return self._date().text
        return self._documents()[context_id].text

    def choose(self, prompt: str) -> Sequence[str]:
        """The ids of those that a prompt needs, the best first; none for small talk. By words, in both languages."""
        return [document.id for document in fitting(prompt, self.list())]

    def _documents(self) -> dict[str, ContextDocument]:
        with self._lock:
            self._look()
            found: dict[str, ContextDocument] = {}
            for path in sorted(self._kept):
                document = self._kept[path]
                if document.id == CURRENT_DATE or document.id in found:
                    continue  # told when it was read
                found[document.id] = document
            return found

    def _look(self) -> None:
        """Reads what is new or changed, forgets what is gone."""
        present: dict[Path, tuple[int, int]] = {}
        try:
            paths = sorted(path for path in self._folder.iterdir() if path.suffix == ".md")[:MOST_DOCUMENTS]
        except OSError as error:
            if self._seen or not self._kept:
                log.warning(
                    "context documents cannot be read", extra={"folder": str(self._folder), "reason": str(error)}
                )
            paths = []
        for path in paths:
            try:
                about = path.stat()
            except OSError:
                continue
            present[path] = (about.st_mtime_ns, about.st_size)
        for path in [path for path in self._seen if path not in present]:
            del self._seen[path]
            self._kept.pop(path, None)
        for path, state in present.items():
            if self._seen.get(path) != state:
                self._seen[path] = state
                self._take(path, state[1])

    def _take(self, path: Path, size: int) -> None:
        self._kept.pop(path, None)
        try:
            if path.is_symlink() or not path.is_file():
                raise ValueError("it is not a regular file")
            if size > self._most_bytes:
                raise ValueError(f"it has {size} bytes; at most {self._most_bytes} (CAPIBARA6_MCP_CONTEXT_BYTES)")
            document = parsed(path.read_text(encoding="utf-8"))
            taken = {CURRENT_DATE} | {one.id for one in self._kept.values()}
            if document.id in taken:
                raise ValueError(f"the id {document.id!r} is taken")
        except (OSError, ValueError) as error:
            log.warning("a context document is left out", extra={"file": path.name, "reason": str(error)})
            return
        self._kept[path] = document

    def _date(self) -> ContextDocument:
        english, spanish = told_in(self._now(), self._zone)
        return ContextDocument(
            CURRENT_DATE,
            "Current date · Fecha actual",
            "Today's date and the time. La fecha y la hora de hoy.",
            (
                "fecha", "qué día", "hoy", "hora", "mañana", "ayer", "este año", "esta semana", "este mes",
                "date", "what day", "today", "time is it", "current time", "tomorrow", "yesterday", "this year",
                "this week", "this month",
            ),
            f"Today is {english}.\nHoy es {spanish}.",
        )  # fmt: skip


def parsed(text: str) -> ContextDocument:
    """A file's document. Raises ValueError that says what is missing."""
    found = re.match(r"\ufeff?---[ \t]*\r?\n(.*?)\r?\n---[ \t]*\r?\n(.*)", text, re.DOTALL)
    if not found:
        raise ValueError("it does not begin with a head between two lines of ---")
    head: dict[str, str] = {}
    for line in found[1].splitlines():
        name, colon, value = line.partition(":")
        if not colon and line.strip():
            raise ValueError(f"its head has a line without a colon: {line[:80]!r}")
        head[name.strip()] = value.strip().strip("\"'")
    missing = [name for name in ("id", "name", "description") if not head.get(name)]
    if missing:
        raise ValueError(f"its head has no {', '.join(missing)}")
    if not _ID.fullmatch(head["id"]):
        raise ValueError("its id is not made of small letters, digits, _ and -")
    if not found[2].strip():
        raise ValueError("it has no text")
    listed = ",".join(head.get(f"keywords{language}", "") for language in ("_es", "_en", ""))
    keywords = tuple(word.strip() for word in listed.split(",") if word.strip())
    return ContextDocument(head["id"], head["name"], head["description"], keywords, found[2].strip())
