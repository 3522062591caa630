"""Whether a step of the installation is done: a marker that holds what it was made from. Standard library only."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

MARKER = ".capibara6-complete"
LAYOUT = "1"  # raise it to have every environment made anew


def fingerprint(*locks: Path) -> str:
    """Of the locks' contents, the interpreter and the way environments are laid out."""
    digest = hashlib.sha256(f"{LAYOUT} {sys.version_info[:3]} {sys.base_prefix}".encode())
    for lock in locks:
        digest.update(lock.read_bytes())
    return digest.hexdigest()


def is_complete(directory: Path, wanted: str) -> bool:
    try:
        return (directory / MARKER).read_text(encoding="utf-8") == wanted
    except OSError:
        return False


def mark_complete(directory: Path, wanted: str) -> None:
    (directory / MARKER).write_text(wanted, encoding="utf-8")
