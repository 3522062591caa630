"""What an engine's log says of its end: the last errors in it, and whether it died for want of memory."""

from __future__ import annotations

import re
from pathlib import Path

TAIL_BYTES = 64 * 1024
LINES = 3
LINE_CHARS = 300
PREFIX = re.compile(r"^(?:\([^()]*\)\s*)?(?:(?:ERROR|CRITICAL)\s[\d-]+ [\d:]+ \[[^\]]*\]\s*)?")
# A line that names an error: `ValueError: …`, `torch.OutOfMemoryError: …`, `Killed`.
NAMED = re.compile(
    r"^(?:[A-Za-z_][\w.]*(?:Error|Exception|Interrupt|Exit)\b.*:\s*\S|Killed\b|Aborted\b|Segmentation fault)"
)
# What only says that another process, whose own words stand above, has failed.
SECOND_HAND = ("See root cause above", "See stack trace for root cause", "EngineCore failed to start", "cancelled")
MEMORY = re.compile(
    r"OutOfMemory|out of memory|Cannot allocate memory|can't allocate memory|MemoryError|std::bad_alloc|ENOMEM"
    r"|No available memory for the cache blocks|less than requested memory for kv|is less than desired \w+ memory"
    r"|larger than the available KV cache memory|is needed, which is larger than the available"
    r"|Free memory on device .* is less than desired",
    re.IGNORECASE,
)


def tail(log: Path) -> list[str]:
    """The log's last lines; none when there is no log."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - TAIL_BYTES))
            return file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def last_words(log: Path) -> str:
    """The last different lines of a log that name an error, oldest first, at most three and shortened; empty when
    there are none. Where a process's own words and those of one that only saw it fail are there, only the former.
    """
    named = [line for raw in tail(log) if NAMED.match(line := PREFIX.sub("", raw, count=1).strip())]
    own = [line for line in named if not any(phrase in line for phrase in SECOND_HAND)]
    latest = list(dict.fromkeys(reversed(own or named)))[:LINES]
    return " | ".join(line[:LINE_CHARS] for line in reversed(latest))


def died_for_memory(log: Path) -> bool:
    """Whether the log's end says that memory was asked for and not there."""
    return any(MEMORY.search(line) for line in tail(log))


def kernel_kills() -> int:
    """How many processes the kernel has killed for want of memory since its start; 0 where it does not say."""
    try:
        text = Path("/proc/vmstat").read_text(encoding="ascii")
    except OSError:
        return 0
    match = re.search(r"^oom_kill (\d+)$", text, re.MULTILINE)
    return int(match[1]) if match else 0
