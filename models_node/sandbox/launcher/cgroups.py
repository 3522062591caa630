"""Limits of memory, processes and processor time, by cgroups: version 2, or version 1 (also beside a version 2 tree).

One parent cgroup for all sandboxes of a stack, bounded together, one child for each. Fails closed: without the memory
and pids controllers there is no group, and whoever asked decides.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from models_node.sandbox.launcher.errors import CgroupsMissing

PERIOD_MICROSECONDS = 100_000
MODESTY = 2  # when cores are short, all sandboxes together get so many times less than another cgroup
NEEDED = frozenset(("memory", "pids"))
REMOVAL_SECONDS = 5.0
TCP_BYTES = 32 * 2**20
MEND = (
    "run the stack as root where the memory and pids controllers are writable: on the host, not in an unprivileged "
    "container; with systemd, `Delegate=yes` in the unit"
)


@dataclass(frozen=True, slots=True)
class Limits:
    memory_bytes: int
    processes: int
    cpus: float


@dataclass(frozen=True, slots=True)
class GroupUsage:
    """Of all processes in the group, ended ones included in cpu_seconds. oom_kills: how often memory ran out."""

    memory_bytes: int
    cpu_seconds: float
    processes: int
    oom_kills: int


class Group(Protocol):
    """The cgroup of one sandbox."""

    def add(self, pid: int) -> None: ...

    def usage(self) -> GroupUsage: ...

    def remove(self) -> None:
        """Kills what is left in it. Raises OSError when it is not empty in time."""
        ...


class Cgroups(Protocol):
    """The parent of the groups."""

    def group(self, name: str, limits: Limits) -> Group: ...

    def sweep(self) -> int:
        """Ends what an earlier launcher left. Returns how many groups there were."""
        ...

    def dissolve(self) -> None:
        """Removes the parent, with all there is in it."""
        ...


class Version1:
    """A controller each has a tree of its own. `roots`: controller → the parent's folder."""

    def __init__(self, roots: dict[str, Path], together: Limits) -> None:
        self._roots = roots
        for controller, root in roots.items():
            root.mkdir(parents=True, exist_ok=True)
            _limit_version1(controller, root, together)
        if "cpu" in roots:
            _write(roots["cpu"] / "cpu.shares", str(1024 // MODESTY))

    def group(self, name: str, limits: Limits) -> Group:
        group = _Group1({controller: root / name for controller, root in self._roots.items()})
        group.make(limits)
        return group

    def sweep(self) -> int:
        names = {child.name for root in self._roots.values() for child in root.iterdir() if child.is_dir()}
        for name in names:
            _Group1({controller: root / name for controller, root in self._roots.items()}).remove()
        return len(names)

    def dissolve(self) -> None:
        self.sweep()
        for root in self._roots.values():
            _remove(root)


class _Group1:
    def __init__(self, folders: dict[str, Path]) -> None:
        self._folders = folders

    def make(self, limits: Limits) -> None:
        for controller, folder in self._folders.items():
            folder.mkdir(exist_ok=True)
            _limit_version1(controller, folder, limits)

    def add(self, pid: int) -> None:
        for folder in self._folders.values():
            (folder / "cgroup.procs").write_text(str(pid))

    def usage(self) -> GroupUsage:
        memory = self._folders["memory"]
        cpu = self._folders.get("cpuacct")
        return GroupUsage(
            _number(memory / "memory.usage_in_bytes"),
            _number(cpu / "cpuacct.usage") / 1e9 if cpu else 0.0,
            _number(self._folders["pids"] / "pids.current"),
            _field(memory / "memory.oom_control", "oom_kill"),
        )

    def remove(self) -> None:
        for folder in self._folders.values():
            _remove(folder)


class Version2:
    """One tree. `root`: the parent's folder, whose controllers are enabled for its children."""

    def __init__(self, root: Path, together: Limits) -> None:
        self._root = root
        _write(root / "cgroup.subtree_control", " ".join(f"+{name}" for name in _controllers(root)))
        _limit_version2(root, together)
        _write(root / "cpu.weight", str(100 // MODESTY))

    def group(self, name: str, limits: Limits) -> Group:
        group = _Group2(self._root / name)
        group.make(limits)
        return group

    def sweep(self) -> int:
        left = [child for child in self._root.iterdir() if child.is_dir()]
        for child in left:
            _Group2(child).remove()
        return len(left)

    def dissolve(self) -> None:
        self.sweep()
        _remove(self._root)


class _Group2:
    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def make(self, limits: Limits) -> None:
        self._folder.mkdir(exist_ok=True)
        _limit_version2(self._folder, limits)
        _write(self._folder / "memory.oom.group", "0")

    def add(self, pid: int) -> None:
        (self._folder / "cgroup.procs").write_text(str(pid))

    def usage(self) -> GroupUsage:
        return GroupUsage(
            _number(self._folder / "memory.current"),
            _field(self._folder / "cpu.stat", "usage_usec") / 1e6,
            _number(self._folder / "pids.current"),
            _field(self._folder / "memory.events", "oom_kill"),
        )

    def remove(self) -> None:
        _write(self._folder / "cgroup.kill", "1")
        _remove(self._folder)


def find(
    name: str, together: Limits, *, mounts: str | None = None, own: str | None = None, enter: bool = True
) -> Cgroups:
    """The parent cgroup `name` for this machine's sandboxes, made where this process may make it.

    together: what all sandboxes may use. mounts, own: /proc/self/mountinfo and /proc/self/cgroup, given by tests.
    Raises CgroupsMissing saying what stands in the way.
    """
    mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8") if mounts is None else mounts
    own = Path("/proc/self/cgroup").read_text(encoding="utf-8") if own is None else own
    places, unified = _mounted(mounts)
    paths = _own_paths(own)
    try:
        if places.keys() >= NEEDED:
            kept = NEEDED | ({"cpu", "cpuacct"} & places.keys())
            roots = {c: _below(places[c], paths.get(c, "/")) / name for c in kept}
            return Version1(roots, together)
        if unified is not None:
            return Version2(_delegated(unified, paths.get("", "/"), name, enter), together)
    except OSError as error:
        raise CgroupsMissing(f"cgroups cannot be made: {error.strerror} ({error.filename})", MEND) from None
    raise CgroupsMissing("there are no cgroups with the memory and pids controllers", MEND)


def _delegated(mount: Path, own: str, name: str, enter: bool) -> Path:
    """Where version 2 lets us make groups: in our own cgroup when nobody else is in it (a unit with `Delegate=yes`),
    after its processes moved into a leaf, for a group with processes cannot limit children; else at the top.
    """
    mine = _below(mount, own)
    failure: OSError | None = None
    for parent in (mine, mount):
        try:
            if parent == mine and parent != mount:
                leaf = parent / "launcher"
                leaf.mkdir(exist_ok=True)
                if enter:
                    for pid in (parent / "cgroup.procs").read_text().split():
                        _write(leaf / "cgroup.procs", pid)
            _write(parent / "cgroup.subtree_control", " ".join(f"+{c}" for c in _controllers(parent)))
            made = parent / name
            made.mkdir(exist_ok=True)
            if frozenset(_controllers(made)) >= NEEDED:
                return made
            made.rmdir()
        except OSError as error:
            failure = error
    raise failure or CgroupsMissing(f"the memory and pids controllers are not enabled below {mount}", MEND)


def _controllers(folder: Path) -> list[str]:
    there = (folder / "cgroup.controllers").read_text().split()
    return [controller for controller in ("memory", "pids", "cpu") if controller in there]


def _mounted(mountinfo: str) -> tuple[dict[str, Path], Path | None]:
    """Version 1 controllers and where each is mounted, and version 2's mount (proc(5), mountinfo)."""
    places: dict[str, Path] = {}
    unified: Path | None = None
    for line in mountinfo.splitlines():
        before, _, after = line.partition(" - ")
        folder, kind = Path(before.split()[4]), after.split()[0]
        if kind == "cgroup2":
            unified = unified or folder
        elif kind == "cgroup":
            for option in after.split()[2].split(","):
                places.setdefault(option, folder)
    return places, unified


def _own_paths(cgroup: str) -> dict[str, str]:
    """Controller → this process's path in its tree; version 2's under ''."""
    paths: dict[str, str] = {}
    for line in cgroup.splitlines():
        _, controllers, path = line.split(":", 2)
        paths |= dict.fromkeys(controllers.split(","), path)
    return paths


def _below(mount: Path, own: str) -> Path:
    """Our own cgroup, or the mount itself where a cgroup namespace hides it."""
    folder = mount / own.lstrip("/")
    return folder if folder.is_dir() else mount


def _limit_version1(controller: str, folder: Path, limits: Limits) -> None:
    match controller:
        case "memory":
            _write(folder / "memory.limit_in_bytes", str(limits.memory_bytes), needed=True)
            _write(folder / "memory.memsw.limit_in_bytes", str(limits.memory_bytes))
            _write(folder / "memory.oom_control", "0")
            # Socket buffers are counted apart in version 1, and come from a pool that the whole host shares.
            _write(folder / "memory.kmem.tcp.limit_in_bytes", str(min(limits.memory_bytes, TCP_BYTES)))
        case "pids":
            _write(folder / "pids.max", str(limits.processes), needed=True)
        case "cpu":
            _write(folder / "cpu.cfs_period_us", str(PERIOD_MICROSECONDS))
            _write(folder / "cpu.cfs_quota_us", str(int(limits.cpus * PERIOD_MICROSECONDS)))


def _limit_version2(folder: Path, limits: Limits) -> None:
    _write(folder / "memory.max", str(limits.memory_bytes), needed=True)
    _write(folder / "memory.swap.max", "0")
    _write(folder / "pids.max", str(limits.processes), needed=True)
    _write(folder / "cpu.max", f"{int(limits.cpus * PERIOD_MICROSECONDS)} {PERIOD_MICROSECONDS}")


def _write(file: Path, text: str, *, needed: bool = False) -> None:
    """A limit that is not needed is left out where the kernel does not have it."""
    try:
        file.write_text(text)
    except OSError:
        if needed:
            raise


def _number(file: Path) -> int:
    return int(file.read_text())


def _field(file: Path, name: str) -> int:
    with contextlib.suppress(OSError):
        for line in file.read_text().splitlines():
            key, _, value = line.partition(" ")
            if key == name:
                return int(value)
    return 0


def _remove(folder: Path) -> None:
    """Kills what is in it until it can be removed: processes that were killed take a moment to leave."""
    _until(REMOVAL_SECONDS, lambda: _removed(folder))


def _removed(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno != errno.EBUSY:
            raise
    else:
        return True
    for pid in (folder / "cgroup.procs").read_text().split():
        if int(pid) > 0:  # version 2 shows 0 for one that is just leaving, and 0 would be our own process group
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), 9)
    return False


def _until(seconds: float, done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            raise TimeoutError(f"a cgroup is still in use after {seconds} s")
        time.sleep(0.002)
