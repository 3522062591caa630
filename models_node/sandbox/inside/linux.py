"""The few Linux calls that Python 3.11 has no name for. Constants have the names of the kernel's own headers."""

from __future__ import annotations

import ctypes
import os

CLONE_NEWNS = 0x0002_0000
CLONE_NEWCGROUP = 0x0200_0000
CLONE_NEWUTS = 0x0400_0000
CLONE_NEWIPC = 0x0800_0000
CLONE_NEWUSER = 0x1000_0000
CLONE_NEWPID = 0x2000_0000
CLONE_NEWNET = 0x4000_0000

MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_BIND = 4096

PR_SET_PDEATHSIG = 1
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_SECCOMP = 22
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
SECCOMP_MODE_FILTER = 2

_LINUX_CAPABILITY_VERSION_3 = 0x2008_0522

_libc = ctypes.CDLL(None, use_errno=True)


class _CapHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapData(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


class _SockFilterProgram(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def _checked(result: int, call: str) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{call}: {os.strerror(number)}")


def unshare(flags: int) -> None:
    """Raises OSError, as all calls here do: EPERM where user namespaces are closed, ENOSPC where their number is."""
    _checked(_libc.unshare(flags), "unshare")


def mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    _checked(
        _libc.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()),
        f"mount {kind} on {target}",
    )


def prctl(option: int, argument: int = 0) -> None:
    _checked(_libc.prctl(option, *(ctypes.c_ulong(value) for value in (argument, 0, 0, 0))), f"prctl {option}")


def raise_capabilities() -> None:
    """Every permitted capability becomes effective again, as after a change of user with PR_SET_KEEPCAPS."""
    header, data = _CapHeader(_LINUX_CAPABILITY_VERSION_3, 0), (_CapData * 2)()
    _checked(_libc.capget(ctypes.byref(header), data), "capget")
    for word in data:
        word.effective = word.permitted
    _checked(_libc.capset(ctypes.byref(header), data), "capset")


def drop_capabilities() -> None:
    """None is left, and none can come back: not by execve, not by a set-user-id file."""
    last = int(_read("/proc/sys/kernel/cap_last_cap"))
    for capability in range(last + 1):
        prctl(PR_CAPBSET_DROP, capability)
    _checked(_libc.prctl(PR_CAP_AMBIENT, *(ctypes.c_ulong(v) for v in (PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))), "ambient")
    header, data = _CapHeader(_LINUX_CAPABILITY_VERSION_3, 0), (_CapData * 2)()
    _checked(_libc.capset(ctypes.byref(header), data), "capset")


def filter_system_calls(program: bytes) -> None:
    """Loads a seccomp filter (an array of struct sock_filter, 8 bytes each). Needs PR_SET_NO_NEW_PRIVS before."""
    held = _SockFilterProgram(len(program) // 8, program)
    address = ctypes.addressof(held)
    _checked(_libc.prctl(PR_SET_SECCOMP, ctypes.c_ulong(SECCOMP_MODE_FILTER), ctypes.c_ulong(address), 0, 0), "seccomp")


def _read(path: str) -> str:
    with open(path, encoding="ascii") as file:  # noqa: PTH123 - nothing more than the builtin in a fresh fork
        return file.read()
