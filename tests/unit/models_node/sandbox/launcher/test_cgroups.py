"""Where groups are made, and what is written there: on folders that look like a kernel's."""

from __future__ import annotations

from pathlib import Path

import pytest

from models_node.sandbox.launcher.cgroups import Limits, find
from models_node.sandbox.launcher.errors import CgroupsMissing

TOGETHER = Limits(4_000, 200, 2)
EACH = Limits(1_000, 50, 0.5)


def version1(root: Path, controllers: str = "memory pids cpu cpuacct", own: str = "/unit") -> tuple[str, str]:
    lines, paths = [], []
    for number, controller in enumerate(controllers.split()):
        (root / controller / own.lstrip("/")).mkdir(parents=True)
        lines.append(f"{number} 1 0:1 / {root / controller} rw - cgroup cgroup rw,{controller}")
        paths.append(f"{number}:{controller}:{own}")
    return "\n".join(lines), "\n".join(paths)


def version2(
    root: Path, controllers: str = "cpu memory pids", own: str = "/system.slice/c6.service"
) -> tuple[str, str]:
    folder = root / own.lstrip("/")
    for parent in (root, folder, folder / "c6", root / "c6"):
        parent.mkdir(parents=True, exist_ok=True)
        (parent / "cgroup.controllers").write_text(controllers)
        (parent / "cgroup.procs").write_text("")
    return f"30 1 0:1 / {root} rw - cgroup2 cgroup2 rw", f"0::{own}"


def test_version_1_groups_lie_below_our_own_in_every_tree(tmp_path: Path) -> None:
    mounts, own = version1(tmp_path)
    find("c6", TOGETHER, mounts=mounts, own=own).group("abc", EACH).add(17)
    memory, pids, cpu = (tmp_path / name / "unit" / "c6" for name in ("memory", "pids", "cpu"))
    assert (memory / "memory.limit_in_bytes").read_text() == "4000"
    assert (memory / "abc" / "memory.limit_in_bytes").read_text() == "1000"
    assert (pids / "abc" / "pids.max").read_text() == "50"
    assert (cpu / "abc" / "cpu.cfs_quota_us").read_text() == "50000"
    assert {(f / "abc" / "cgroup.procs").read_text() for f in (memory, pids, cpu)} == {"17"}


def test_a_hybrid_tree_uses_version_1_where_the_controllers_are(tmp_path: Path) -> None:
    mounts1, own1 = version1(tmp_path / "one")
    mounts2, own2 = version2(tmp_path / "two", controllers="hugetlb")
    find("c6", TOGETHER, mounts=f"{mounts2}\n{mounts1}", own=f"{own1}\n{own2}").group("abc", EACH)
    assert (tmp_path / "one" / "memory" / "unit" / "c6" / "abc" / "memory.limit_in_bytes").exists()


def test_version_2_groups_lie_in_a_delegated_unit_whose_processes_move_aside(tmp_path: Path) -> None:
    mounts, own = version2(tmp_path)
    unit = tmp_path / "system.slice" / "c6.service"
    (unit / "cgroup.procs").write_text("4321")
    find("c6", TOGETHER, mounts=mounts, own=own).group("abc", EACH)
    assert (unit / "launcher" / "cgroup.procs").read_text() == "4321"
    assert (unit / "cgroup.subtree_control").read_text() == "+memory +pids +cpu"
    assert (unit / "c6" / "memory.max").read_text() == "4000"
    group = unit / "c6" / "abc"
    assert (group / "memory.max").read_text() == "1000"
    assert (group / "memory.swap.max").read_text() == "0"
    assert (group / "pids.max").read_text() == "50"
    assert (group / "cpu.max").read_text() == "50000 100000"


def test_usage_is_read_in_the_same_units_from_both(tmp_path: Path) -> None:
    mounts, own = version1(tmp_path / "1")
    one = find("c6", TOGETHER, mounts=mounts, own=own).group("abc", EACH)
    for name, value in (
        ("memory/unit/c6/abc/memory.usage_in_bytes", "900"),
        ("cpuacct/unit/c6/abc/cpuacct.usage", "2500000000"),
        ("pids/unit/c6/abc/pids.current", "3"),
        ("memory/unit/c6/abc/memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 2"),
    ):
        (tmp_path / "1" / name).write_text(value)
    mounts, own = version2(tmp_path / "2")
    two = find("c6", TOGETHER, mounts=mounts, own=own).group("abc", EACH)
    group = tmp_path / "2" / "system.slice" / "c6.service" / "c6" / "abc"
    for name, value in (
        ("memory.current", "900"),
        ("cpu.stat", "usage_usec 2500000\nuser_usec 1"),
        ("pids.current", "3"),
        ("memory.events", "low 0\noom 2\noom_kill 2"),
    ):
        (group / name).write_text(value)
    assert one.usage() == two.usage()
    assert (one.usage().memory_bytes, one.usage().cpu_seconds, one.usage().oom_kills) == (900, 2.5, 2)


@pytest.mark.parametrize("controllers", ["memory cpu", "pids cpu", "cpu"])
def test_without_memory_or_pids_there_are_no_groups(tmp_path: Path, controllers: str) -> None:
    mounts, own = version1(tmp_path / "1", controllers)
    with pytest.raises(CgroupsMissing, match="memory and pids") as raised:
        find("c6", TOGETHER, mounts=mounts, own=own)
    assert "Delegate=yes" in raised.value.mend
    mounts, own = version2(tmp_path / "2", controllers)
    with pytest.raises(CgroupsMissing):
        find("c6", TOGETHER, mounts=mounts, own=own)
