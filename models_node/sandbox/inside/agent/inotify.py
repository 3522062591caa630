"""Linux's inotify by ctypes: what happens in a folder, as events in a bounded queue. No thread."""

import asyncio
import ctypes
import os
import struct
from collections import deque
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from .uploads import PARTIAL_PREFIX, PARTIAL_SUFFIX

MAX_EVENTS = 4096
MAX_FOLDERS = 1024
_READ_BYTES = 64 * 1024
_HEADER = struct.Struct("iIII")
_LIBC: Any = ctypes.CDLL(None, use_errno=True)

_IN_MODIFY, _IN_ATTRIB = 0x2, 0x4
_IN_MOVED_FROM, _IN_MOVED_TO = 0x40, 0x80
_IN_CREATE, _IN_DELETE = 0x100, 0x200
_IN_Q_OVERFLOW, _IN_IGNORED, _IN_ISDIR = 0x4000, 0x8000, 0x40000000
_MASK = _IN_MODIFY | _IN_ATTRIB | _IN_MOVED_FROM | _IN_MOVED_TO | _IN_CREATE | _IN_DELETE


class Happening(Enum):
    """What can happen to an entry; the values are envd's."""

    CREATE = 1
    WRITE = 2
    REMOVE = 3
    RENAME = 4
    CHMOD = 5


@dataclass(frozen=True, slots=True)
class FolderEvent:
    """`name` is relative to the watched folder."""

    name: str
    happening: Happening


class FolderWatch:
    """Watches one folder, with those below it where `recursive`. Events that do not fit are lost, and said so."""

    def __init__(self, folder: Path, *, recursive: bool) -> None:
        """Raises OSError."""
        self._folder = folder
        self._recursive = recursive
        self._descriptor = _checked(_LIBC.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC))
        self._names: dict[int, str] = {}
        self._uploads: set[int] = set()
        self._events: deque[FolderEvent] = deque()
        self._lost = False
        self.arrived = asyncio.Event()
        try:
            self._add(folder, "")
        except OSError:
            os.close(self._descriptor)
            raise
        asyncio.get_running_loop().add_reader(self._descriptor, self._readable)

    def take(self) -> tuple[list[FolderEvent], bool]:
        """What happened since the last time, and whether events were lost on the way."""
        events, lost = list(self._events), self._lost
        self._events.clear()
        self._lost = False
        self.arrived.clear()
        return events, lost

    def close(self) -> None:
        """Ends the watch."""
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)

    def _add(self, folder: Path, name: str) -> None:
        if len(self._names) >= MAX_FOLDERS:
            self._lost = True
            return
        watch = _checked(_LIBC.inotify_add_watch(self._descriptor, os.fsencode(folder), ctypes.c_uint32(_MASK)))
        self._names[watch] = name
        if not self._recursive:
            return
        with os.scandir(folder) as entries:
            below = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
        for child in below:
            try:
                self._add(folder / child, f"{name}/{child}" if name else child)
            except OSError:  # it went away meanwhile, or may not be read
                continue

    def _readable(self) -> None:
        try:
            data = os.read(self._descriptor, _READ_BYTES)
        except BlockingIOError:
            return
        offset = 0
        while offset < len(data):
            watch, mask, cookie, length = _HEADER.unpack_from(data, offset)
            offset += _HEADER.size
            name = os.fsdecode(data[offset : offset + length].rstrip(b"\0"))
            offset += length
            self._happened(watch, mask, cookie, name)

    def _happened(self, watch: int, mask: int, cookie: int, name: str) -> None:
        if mask & _IN_Q_OVERFLOW:
            self._lost = True
            self.arrived.set()
            return
        if mask & _IN_IGNORED:
            self._names.pop(watch, None)
            return
        folder = self._names.get(watch)
        if folder is None:
            return
        if name.startswith(PARTIAL_PREFIX) and name.endswith(PARTIAL_SUFFIX):
            if mask & _IN_MOVED_FROM:
                self._uploads = {cookie}
            return
        path = f"{folder}/{name}" if folder and name else folder or name
        if self._recursive and mask & _IN_ISDIR and mask & (_IN_CREATE | _IN_MOVED_TO):
            try:
                self._add(self._folder / path, path)
            except OSError:
                self._lost = True
        if mask & _IN_MOVED_TO and cookie in self._uploads:
            # A finished upload takes its place by a rename: to who watches, the file was written.
            self._put(path, Happening.CREATE)
            self._put(path, Happening.WRITE)
            return
        for bit, happening in _HAPPENINGS:
            if mask & bit:
                self._put(path, happening)

    def _put(self, name: str, happening: Happening) -> None:
        if len(self._events) >= MAX_EVENTS:
            self._lost = True
        else:
            self._events.append(FolderEvent(name, happening))
        self.arrived.set()


_HAPPENINGS = (
    (_IN_CREATE | _IN_MOVED_TO, Happening.CREATE),
    (_IN_MODIFY, Happening.WRITE),
    (_IN_DELETE, Happening.REMOVE),
    (_IN_MOVED_FROM, Happening.RENAME),
    (_IN_ATTRIB, Happening.CHMOD),
)


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
