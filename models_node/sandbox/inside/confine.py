"""Turns a fork of the template into a sandbox.

Bubblewrap made what all sandboxes share: a read-only system without the host's files (`launcher/view.py`). A sandbox
adds namespaces of its own over it, its own user, its own memory file systems; then it gives up every capability and
loads the system call filter. What a fork could undo is done by nobody else: mounts it inherits are locked to it.

Four parties: the fork (leaves the launcher's sight last), its child, who becomes pid 1, and the launcher, who alone may
move processes into cgroups and write user id maps. They speak over the sandbox's control channel:
fork "born" → launcher (cgroup) "go" → fork unshares, "apart" → launcher (maps) "go" → fork mounts and forks once more →
child "pid1" (+ the proxy's listener) → launcher "go" → child drops everything and serves.
"""

from __future__ import annotations

import fcntl
import os
import resource
import socket
import struct
from dataclasses import dataclass
from typing import Any

from models_node.sandbox.inside import linux, messages

USER_ID = 1000
HOME = "/home/user"
PROXY_PORT = 3128
PROXY_BACKLOG = 32
OPEN_FILES = 4096
WATCHERS, WATCHES = 6, 8192  # a user has 128 of the first, as Linux comes, for twenty sandboxes
_LIMITS = (
    (resource.RLIMIT_CORE, 0),
    (resource.RLIMIT_NOFILE, OPEN_FILES),
    (resource.RLIMIT_SIGPENDING, 1024),  # this and the next are counted for the template's user, too
    (resource.RLIMIT_MSGQUEUE, 0),
)
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _IFF_UP = 0x8913, 0x8914, 1
_NAMESPACES = (
    linux.CLONE_NEWUSER
    | linux.CLONE_NEWPID
    | linux.CLONE_NEWNS
    | linux.CLONE_NEWNET
    | linux.CLONE_NEWIPC
    | linux.CLONE_NEWUTS
    | linux.CLONE_NEWCGROUP
)
_HIDDEN = ("cmdline", "kallsyms", "kcore", "keys", "key-users", "kmsg", "modules", "sched_debug", "timer_list")
_BLANK = linux.MS_NOSUID | linux.MS_NODEV


class Interrupted(Exception):
    """The launcher gave this sandbox up while it was being made."""


@dataclass(frozen=True, slots=True)
class Confinement:
    """What one sandbox gets. Sizes in bytes.

    maps_itself: no privileged launcher: the fork maps its own user, the only one it may.
    """

    sandbox_id: str
    home_bytes: int
    tmp_bytes: int
    inodes: int
    egress: bool
    maps_itself: bool

    @classmethod
    def of(cls, told: dict[str, Any]) -> Confinement:
        return cls(
            str(told["sandbox_id"]),
            int(told["home_bytes"]),
            int(told["tmp_bytes"]),
            int(told["inodes"]),
            bool(told["egress"]),
            bool(told["maps_itself"]),
        )


def enter(control: socket.socket, wanted: Confinement, system_calls: bytes) -> None:
    """Returns in pid 1 of a finished sandbox, confined; the process that called it has gone by then.

    Raises OSError naming the step that the machine refuses, Interrupted.
    """
    _say(control, "born")
    for limit, most in _LIMITS:
        resource.setrlimit(limit, (most, most))
    outer_user, outer_group = os.getuid(), os.getgid()  # once apart, nobody is who they were
    linux.unshare(_NAMESPACES)
    if wanted.maps_itself:
        _map_self(outer_user, outer_group)
    _say(control, "apart")
    _become_user(wanted.maps_itself)
    _limit_watches()
    _mount_own(wanted)
    _raise_loopback()
    socket.sethostname("sandbox")
    proxy = _proxy_listener() if wanted.egress else None
    if os.fork():
        os._exit(0)
    linux.mount("proc", "/proc", "proc", _BLANK | linux.MS_NOEXEC)
    _hide_host()
    _say(control, "pid1", (proxy.fileno(),) if proxy else ())
    if proxy:
        proxy.close()
    linux.drop_capabilities()
    linux.prctl(linux.PR_SET_KEEPCAPS, 0)
    linux.prctl(linux.PR_SET_NO_NEW_PRIVS, 1)
    linux.filter_system_calls(system_calls)
    os.chdir(HOME)


def _say(control: socket.socket, step: str, descriptors: tuple[int, ...] = ()) -> None:
    """Tells the launcher, and waits for its word."""
    messages.send(control, {"step": step}, descriptors)
    try:
        answer = messages.receive(control).content
    except messages.Gone:
        raise Interrupted from None
    if answer.get("do") != "go":
        raise Interrupted


def _map_self(outer_user: int, outer_group: int) -> None:
    for file, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{USER_ID} {outer_user} 1"),
        ("gid_map", f"{USER_ID} {outer_group} 1"),
    ):
        with open(f"/proc/self/{file}", "w", encoding="ascii") as target:  # noqa: PTH123
            target.write(text)


def _become_user(maps_itself: bool) -> None:
    """The sandbox's own user; the capabilities within its own namespace are kept for the mounts that follow."""
    if not maps_itself:
        linux.prctl(linux.PR_SET_KEEPCAPS, 1)
        os.setresgid(USER_ID, USER_ID, USER_ID)
        os.setresuid(USER_ID, USER_ID, USER_ID)
        linux.raise_capabilities()


def _limit_watches() -> None:
    """The kernel counts every sandbox's watches for the template's user as well: none may use them up for others."""
    for name, most in (("max_inotify_instances", WATCHERS), ("max_inotify_watches", WATCHES)):
        try:
            with open(f"/proc/sys/user/{name}", "w", encoding="ascii") as file:  # noqa: PTH123
                file.write(str(most))
        except FileNotFoundError:  # a kernel without inotify
            continue


def _mount_own(wanted: Confinement) -> None:
    home = f"size={wanted.home_bytes},nr_inodes={wanted.inodes},mode=0750,uid={USER_ID},gid={USER_ID}"
    scratch = f"size={wanted.tmp_bytes},nr_inodes={wanted.inodes},mode=1777"
    linux.mount("home", HOME, "tmpfs", _BLANK, home)
    linux.mount("tmp", "/tmp", "tmpfs", _BLANK, scratch)  # noqa: S108 - a mount of its own
    linux.mount("shm", "/dev/shm", "tmpfs", _BLANK | linux.MS_NOEXEC, scratch)  # noqa: S108
    linux.mount("devpts", "/dev/pts", "devpts", linux.MS_NOSUID | linux.MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")


def _hide_host() -> None:
    """What /proc tells of the host and no sandbox needs. Its memory and processors stay visible: programs ask them."""
    for name in _HIDDEN:
        if os.path.exists(f"/proc/{name}"):  # noqa: PTH110
            linux.mount("/dev/null", f"/proc/{name}", "", linux.MS_BIND)


def _raise_loopback() -> None:
    """The only interface there is: what user code serves to itself, and a Jupyter kernel's sockets, use it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH14s", b"lo", 0, b"")
        flags = struct.unpack("16sH14s", fcntl.ioctl(any_socket, _SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sH14s", b"lo", flags | _IFF_UP, b""))


def _proxy_listener() -> socket.socket:
    """Listens in the sandbox's network; the gateway, outside, accepts on it: the only way out there is."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("127.0.0.1", PROXY_PORT))
    listener.listen(PROXY_BACKLOG)
    return listener
