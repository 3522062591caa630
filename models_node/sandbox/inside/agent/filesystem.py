"""envd's filesystem service."""

import asyncio
import os
import shutil
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext
from e2b.envd.filesystem.filesystem_connect import Filesystem
from e2b.envd.filesystem.filesystem_pb import (
    CreateWatcherRequest,
    CreateWatcherResponse,
    EntryInfo,
    EventType,
    FilesystemEvent,
    GetWatcherEventsRequest,
    GetWatcherEventsResponse,
    ListDirRequest,
    ListDirResponse,
    MakeDirRequest,
    MakeDirResponse,
    MoveRequest,
    MoveResponse,
    RemoveRequest,
    RemoveResponse,
    RemoveWatcherRequest,
    RemoveWatcherResponse,
    StatRequest,
    StatResponse,
    WatchDirRequest,
    WatchDirResponse,
)
from protobuf import Oneof

from .calls import deadline_of, keepalive_seconds, require_user
from .entries import connect_error, entry_info, shown
from .errors import BadRequest
from .fields import FILESYSTEM, KEEPALIVE, START
from .inotify import FolderEvent, FolderWatch
from .paths import Paths

MAX_ENTRIES = 20_000
MAX_WATCHERS = 32
_Context = RequestContext[Any, Any]


class FilesystemService(Filesystem):
    """Every call acts as the sandbox's user, on what that user sees."""

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._watchers: dict[str, tuple[FolderWatch, Path, bool]] = {}

    async def stat(self, request: StatRequest, ctx: _Context) -> StatResponse:
        path = self._path(request.path, ctx)
        try:
            return StatResponse(entry=entry_info(path))
        except OSError as error:
            raise connect_error(error, path) from error

    async def make_dir(self, request: MakeDirRequest, ctx: _Context) -> MakeDirResponse:
        path = self._path(request.path, ctx)
        try:
            path.mkdir(parents=True)
            return MakeDirResponse(entry=entry_info(path))
        except FileExistsError as error:
            raise ConnectError(Code.ALREADY_EXISTS, f"path {str(path)!r} exists already") from error
        except OSError as error:
            raise connect_error(error, path) from error

    async def move(self, request: MoveRequest, ctx: _Context) -> MoveResponse:
        source = self._path(request.source, ctx)
        destination = self._path(request.destination, ctx)
        try:
            source.lstat()
            destination.parent.mkdir(parents=True, exist_ok=True)
            try:
                source.rename(destination)
            except OSError as error:
                if error.errno != _CROSS_DEVICE:
                    raise
                shutil.move(source, destination)
            return MoveResponse(entry=entry_info(destination))
        except OSError as error:
            raise connect_error(error, source) from error

    async def list_dir(self, request: ListDirRequest, ctx: _Context) -> ListDirResponse:
        path = self._path(request.path, ctx)
        try:
            if not path.is_dir():
                path.stat()
                raise ConnectError(Code.INVALID_ARGUMENT, f"path {str(path)!r} is no folder")
            return ListDirResponse(entries=await _entries_below(path, max(1, request.depth)))
        except OSError as error:
            raise connect_error(error, path) from error

    async def remove(self, request: RemoveRequest, ctx: _Context) -> RemoveResponse:
        path = self._path(request.path, ctx)
        try:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        except OSError as error:
            raise connect_error(error, path) from error
        return RemoveResponse()

    async def watch_dir(self, request: WatchDirRequest, ctx: _Context) -> AsyncIterator[WatchDirResponse]:
        path = self._path(request.path, ctx)
        pause, deadline = keepalive_seconds(ctx), deadline_of(ctx)
        watch = _watch(path, request.recursive)
        try:
            yield WatchDirResponse(event=Oneof(START, WatchDirResponse.StartEvent()))
            while True:
                try:
                    await asyncio.wait_for(watch.arrived.wait(), min(pause, max(0, deadline - time.monotonic())))
                except TimeoutError:
                    if time.monotonic() >= deadline:
                        raise ConnectError(Code.DEADLINE_EXCEEDED, "the watch reached its timeout") from None
                    yield WatchDirResponse(event=Oneof(KEEPALIVE, WatchDirResponse.KeepAlive()))
                    continue
                for event in _taken(watch, path, include_entry=request.include_entry):
                    yield WatchDirResponse(event=Oneof(FILESYSTEM, event))
        finally:
            watch.close()

    async def create_watcher(self, request: CreateWatcherRequest, ctx: _Context) -> CreateWatcherResponse:
        path = self._path(request.path, ctx)
        if len(self._watchers) >= MAX_WATCHERS:
            raise ConnectError(Code.RESOURCE_EXHAUSTED, f"there are {MAX_WATCHERS} watchers already")
        watcher_id = uuid.uuid4().hex
        self._watchers[watcher_id] = (_watch(path, request.recursive), path, request.include_entry)
        return CreateWatcherResponse(watcher_id=watcher_id)

    async def get_watcher_events(self, request: GetWatcherEventsRequest, ctx: _Context) -> GetWatcherEventsResponse:
        watch, path, include_entry = self._watcher(request.watcher_id)
        return GetWatcherEventsResponse(events=_taken(watch, path, include_entry=include_entry))

    async def remove_watcher(self, request: RemoveWatcherRequest, ctx: _Context) -> RemoveWatcherResponse:
        self._watcher(request.watcher_id)[0].close()
        del self._watchers[request.watcher_id]
        return RemoveWatcherResponse()

    def _watcher(self, watcher_id: str) -> tuple[FolderWatch, Path, bool]:
        watcher = self._watchers.get(watcher_id)
        if watcher is None:
            raise ConnectError(Code.NOT_FOUND, f"watcher {watcher_id!r} does not exist")
        return watcher

    def _path(self, path: str, ctx: _Context) -> Path:
        require_user(ctx)
        try:
            return self._paths.resolve(path)
        except BadRequest as error:
            raise ConnectError(Code.INVALID_ARGUMENT, str(error)) from error


_CROSS_DEVICE = 18


async def _entries_below(folder: Path, depth: int) -> list[EntryInfo]:
    """The entries down to `depth` levels, a folder before what it holds. Raises OSError, ConnectError."""
    entries: list[EntryInfo] = []
    waiting = [(folder, 1)]
    while waiting:
        current, level = waiting.pop()
        try:
            names = sorted(os.listdir(current), reverse=True)  # noqa: PTH208
        except OSError:
            if current == folder:
                raise
            continue
        below = []
        for name in reversed(names):
            path = current / name
            try:
                entries.append(entry_info(path))
            except OSError:  # gone meanwhile
                continue
            if level < depth and path.is_dir() and not path.is_symlink():
                below.append((path, level + 1))
            if len(entries) > MAX_ENTRIES:
                raise ConnectError(
                    Code.RESOURCE_EXHAUSTED, f"more than {MAX_ENTRIES} entries below {str(folder)!r}: list less depth"
                )
        waiting.extend(reversed(below))
        await asyncio.sleep(0)
    return entries


def _watch(path: Path, recursive: bool) -> FolderWatch:
    if path.exists() and not path.is_dir():
        raise ConnectError(Code.INVALID_ARGUMENT, f"path {str(path)!r} is no folder")
    try:
        return FolderWatch(path, recursive=recursive)
    except OSError as error:
        raise connect_error(error, path) from error


def _taken(watch: FolderWatch, folder: Path, *, include_entry: bool) -> list[FilesystemEvent]:
    """What happened, in envd's words. Raises ConnectError when events were lost: what came is then not the truth."""
    events, lost = watch.take()
    if lost:
        raise ConnectError(Code.RESOURCE_EXHAUSTED, "events were lost: more happened than the watch can hold")
    return [_told(event, folder, include_entry) for event in events]


def _told(event: FolderEvent, folder: Path, include_entry: bool) -> FilesystemEvent:
    entry = None
    if include_entry:
        try:
            entry = entry_info(folder / event.name)
        except OSError:
            entry = None
    return FilesystemEvent(name=shown(event.name), type=EventType(event.happening.value), entry=entry)
