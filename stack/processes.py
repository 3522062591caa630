"""Finding and ending every process of a stack, whoever its parent is now.

A supervisor knows its children only, and only while it lives. So each process of the stack carries two variables from
its first instruction, which all it starts inherit: a stack's processes are those that carry its id, also after the
supervisor itself was killed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable

import psutil

from stack.settings import Settings

STACK_ID = "CAPIBARA6_STACK_ID"
SERVICE = "CAPIBARA6_SERVICE"


def stack_id(settings: Settings) -> str:
    """Twelve hexadecimal digits that tell this installation from others on the machine."""
    return hashlib.sha256(str(settings.home).encode()).hexdigest()[:12]


def stack_environment(settings: Settings, service: str | None = None) -> dict[str, str]:
    """The variables that mark a process as the stack's, and as one service's."""
    marks = {STACK_ID: stack_id(settings)}
    return marks | {SERVICE: service} if service else marks


def marked(**marks: str) -> list[psutil.Process]:
    """Every living process whose environment carries all these NAME=value pairs (never this one or its ancestors)."""
    mine = {os.getpid()} | {parent.pid for parent in psutil.Process().parents()}
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        if process.pid in mine:
            continue
        try:
            environment = process.environ()
            carries = all(environment.get(name) == value for name, value in marks.items())
            if carries and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue  # gone, or another user's: not ours
    return found


def end(processes: Iterable[psutil.Process], grace_seconds: float) -> list[int]:
    """Terminates, waits, then kills. Returns the pids that had to be killed."""
    alive = list(processes)
    for process in alive:
        try:
            process.terminate()
        except psutil.NoSuchProcess:
            continue
    _, alive = psutil.wait_procs(alive, timeout=grace_seconds)
    for process in alive:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(alive, timeout=5)
    return [process.pid for process in alive]


def kill_marked(name: str, value: str, grace_seconds: float) -> list[int]:
    """Ends every process that carries NAME=value, and what those start meanwhile. Returns the pids found."""
    ended: list[int] = []
    for _ in range(5):  # a tree that forks while it is being ended needs a second look
        found = marked(**{name: value})
        if not found:
            break
        ended += [process.pid for process in found]
        end(found, grace_seconds)
    return ended
