"""A model's weights, downloaded into a temporary folder that becomes the catalogue's when everything is there.

So a half download is never taken for weights. A connection that breaks goes on where it stopped; a try that was given
up leaves its finished files to the next one, and of the files in between the client keeps nothing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from models_node.catalogue import Catalogue, ModelEntry, missing_weights, weights_path
from models_node.errors import CatalogueError, FetchError
from models_node.fetching.hub import Listing
from models_node.weights import MANIFEST
from stack.install.report import long_step

CLIENT_NOTES = ".cache"  # what the hub's client keeps beside the files, to go on with
CLIENT_PART = ".incomplete"
SPARE_DISK_BYTES = 2**30  # left free beside the download


class Source(Protocol):
    """Where weights come from; `hub.Hub` is the real one."""

    def listing(self, source: str, revision: str | None) -> Listing: ...

    def download(self, listing: Listing, folder: Path) -> None: ...


def chosen(catalogue: Catalogue, models: list[str]) -> list[ModelEntry]:
    """The entries to fetch: the named ones, or all that name a source. Raises CatalogueError for one that cannot be
    fetched."""
    entries = []
    for model in models or [entry.id for entry in catalogue.models if entry.source]:
        entry = catalogue.get(model)
        if entry is None:
            raise CatalogueError(f"no model is called {model!r}", f"one of: {', '.join(catalogue.ids)}")
        if entry.source is None:
            raise CatalogueError(*_no_source(entry))
        entries.append(entry)
    if not entries:
        raise CatalogueError(
            "no model of this catalogue names a `source` to fetch from",
            "set CAPIBARA6_CATALOGUE, or --catalogue, to one that does (models_node/catalog.production.toml)",
        )
    return entries


def fetch(entry: ModelEntry, home: Path, hub: Source, say: Callable[[str], None]) -> None:
    """Brings the entry's weights into its folder; does nothing when they are there. Raises FetchError."""
    folder = weights_path(entry, home)
    if folder is None or entry.source is None:
        raise CatalogueError(*_no_source(entry))
    try:
        if _there(entry, folder, home, say):
            return
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder.with_name(f".{folder.name}.lock"), folder):
            if _there(entry, folder, home, say):  # while we waited
                return
            listing = hub.listing(entry.source, entry.revision)
            temporary = folder.with_name(f"{_prefix(folder)}{listing.commit[:12]}")
            for older in folder.parent.glob(f"{_prefix(folder)}*"):
                if older != temporary:  # of another commit: nothing of it is mixed into this one
                    shutil.rmtree(older)
            for part in temporary.glob(f"{CLIENT_NOTES}/**/*{CLIENT_PART}"):
                part.unlink()  # of a try that was killed; the client begins such a file anew
            check_room(listing, temporary)
            temporary.mkdir(exist_ok=True)
            _download(entry, listing, temporary, hub)
            finish(listing, temporary, folder)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise FetchError(
                f"{folder.parent} is full", "free some disk; the next try keeps the finished files"
            ) from None
        raise FetchError(f"{folder}: {error.strerror or error}", "check the folder and its permissions") from None
    say(f"{entry.id}: weights are ready in {folder}")


def check_room(listing: Listing, temporary: Path) -> None:
    """Raises FetchError when the disk has no room for what is not downloaded yet."""
    missing = listing.total_bytes - min(listing.total_bytes, held_bytes(temporary))
    free = shutil.disk_usage(temporary.parent).free
    if free < missing + SPARE_DISK_BYTES:
        raise FetchError(
            f"no disk space: {temporary.parent} has {free / 2**30:.1f} GiB free, {listing.source} still takes "
            f"{missing / 2**30:.1f} and {SPARE_DISK_BYTES / 2**30:.0f} stays free",
            "free some disk, or give the entry an absolute path of `weights` on another one",
        )


def finish(listing: Listing, temporary: Path, folder: Path) -> None:
    """Checks that every file is whole, notes what it is, and gives the folder its name. Raises FetchError."""
    for name in listing.files:
        _check(listing, name, temporary / name)
    shutil.rmtree(temporary / CLIENT_NOTES, ignore_errors=True)
    (temporary / MANIFEST).write_text(json.dumps(asdict(listing), indent=2), encoding="utf-8")
    for path in temporary.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
    if folder.is_dir():
        folder.rmdir()  # an empty one; a full one is somebody's, and stays (OSError)
    temporary.rename(folder)


def _check(listing: Listing, name: str, path: Path) -> None:
    found, size = path.stat().st_size if path.is_file() else 0, listing.files[name]
    if found != size:
        raise FetchError(
            f"{listing.source}: {name} came incomplete, {found} of {size} bytes",
            "run the same command again: it keeps the files that are whole",
        )
    if name not in listing.sha256:
        return
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != listing.sha256[name]:
        path.unlink()  # else the next try would take it for done
        raise FetchError(
            f"{listing.source}: {name} came damaged (its sha256 is not the hub's)", "run the same command again"
        )


def held_bytes(folder: Path) -> int:
    """Bytes on disk under the folder: finished files and parts. 0 when it is not there."""
    total = 0
    for root, _, names in os.walk(folder):
        for name in names:
            with contextlib.suppress(OSError):  # the client moves files while we look
                total += (Path(root) / name).stat().st_blocks * 512
    return total


def _download(entry: ModelEntry, listing: Listing, temporary: Path, hub: Source) -> None:
    began, had = time.monotonic(), held_bytes(temporary)
    total = listing.total_bytes

    def progress() -> str:
        held = held_bytes(temporary)
        rate = (held - had) / max(time.monotonic() - began, 0.001)
        return f"{held / 1e9:.2f} of {total / 1e9:.2f} GB, {rate / 1e6:.1f} MB/s"

    what = f"{entry.id}: {len(listing.files)} files, {total / 1e9:.2f} GB of {listing.source} at {listing.commit[:12]}"
    with long_step(what if not had else f"{what} ({had / 1e9:.2f} GB are here already)", progress):
        hub.download(listing, temporary)


def _there(entry: ModelEntry, folder: Path, home: Path, say: Callable[[str], None]) -> bool:
    if missing_weights(entry, home) is None:
        say(f"{entry.id}: weights are in {folder} already")
        return True
    if folder.is_dir() and any(folder.iterdir()):
        raise FetchError(f"{folder} holds something, but no weights (no config.json)", "move it away, then try again")
    return False


def _prefix(folder: Path) -> str:
    """How the names of the folder's temporary ones begin; hidden, so that nobody takes them for weights."""
    return f".{folder.name}.fetching-"


def _no_source(entry: ModelEntry) -> tuple[str, str]:
    """Why it cannot be fetched, and what to do."""
    if entry.remote:
        return f"{entry.id} runs on another machine ({entry.remote_url})", "fetch its weights there"
    if entry.packaged_name:
        return f"{entry.id} uses packaged weights", "./capibara6 up makes them; there is nothing to fetch"
    return f"{entry.id} names no `source` in the catalogue", "give it one, or put its weights into its folder"


@contextlib.contextmanager
def _alone(lock: Path, folder: Path) -> Iterator[None]:
    """One fetch of a folder at a time. Raises FetchError when another is under way."""
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FetchError(f"{folder} is being fetched already", "wait for the other command") from None
        yield
