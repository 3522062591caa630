"""Makes, measures and ends sandboxes: the part of the launcher that needs its privileges."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import signal
import socket
import stat
import struct
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from models_node.sandbox.inside import messages
from models_node.sandbox.inside.confine import USER_ID
from models_node.sandbox.launcher.cgroups import Cgroups, Group, GroupUsage, Limits
from models_node.sandbox.launcher.channel import Channel, ended
from models_node.sandbox.launcher.errors import LaunchError
from models_node.sandbox.launcher.template import Template

log = logging.getLogger("sandbox.launcher")

TEMPLATE = "template"  # no sandbox's name: those are made by the gateway, and longer
NAME = re.compile(r"[a-z0-9]{8,40}")
STEP_SECONDS = 10.0
DEATH_SECONDS = 5.0
RETRY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Sizes:
    """What each sandbox gets. Bytes; inodes are counted in each of its file systems."""

    limits: Limits
    home_bytes: int
    tmp_bytes: int
    inodes: int


@dataclass(slots=True)
class _Sandbox:
    slot: int
    group: Group | None
    pidfd: int = -1
    watch: asyncio.Task[None] | None = None
    gone: asyncio.Event = field(default_factory=asyncio.Event)
    killed: bool = False


class Sandboxes:
    """cgroups: None where limits are done without. users: first of the host's user ids that sandboxes run as, one each;
    None without privileges. told_exit: called with id and reason when one ends by itself.
    """

    def __init__(
        self,
        template: Template,
        cgroups: Cgroups | None,
        sizes: Sizes,
        environment: dict[str, str],
        *,
        users: int | None,
        most: int,
        told_exit: Callable[[str, str], None],
    ) -> None:
        self._template = template
        self._cgroups = cgroups
        self._sizes = sizes
        self._environment = environment
        self._users = users
        self._free = list(range(most - 1, -1, -1))
        self._told_exit = told_exit
        self._all: dict[str, _Sandbox] = {}
        self._removers = ThreadPoolExecutor(most, "removal")

    async def create(self, sandbox_id: str, listener: int, *, egress: bool) -> tuple[int, ...]:
        """Returns when pid 1 of the sandbox is confined and about to serve. The proxy's listener, with egress.

        Raises LaunchError; nothing is left of it then.
        """
        if not NAME.fullmatch(sandbox_id) or sandbox_id in self._all:
            raise LaunchError(f"{sandbox_id[:60]!r} is no new name of a sandbox")
        if not self._free:
            raise LaunchError("there are as many sandboxes as this machine may have")
        group = self._cgroups.group(sandbox_id, self._sizes.limits) if self._cgroups else None
        sandbox = _Sandbox(self._free.pop(), group)
        self._all[sandbox_id] = sandbox
        try:
            return await self._make(sandbox_id, sandbox, listener, egress)
        except BaseException:
            sandbox.killed = True
            await asyncio.shield(self._clear(sandbox_id, sandbox))
            raise

    async def kill(self, sandbox_id: str) -> None:
        """Returns when no process of it is left. Does nothing for one that is not there."""
        sandbox = self._all.get(sandbox_id)
        if sandbox is None:
            return
        sandbox.killed = True
        if sandbox.watch is None:  # being made: its maker clears it away
            if sandbox.group:
                await self._remove(sandbox.group)
        else:
            _signal(sandbox.pidfd)
        await asyncio.wait_for(sandbox.gone.wait(), DEATH_SECONDS * 2)

    def usage(self, sandbox_id: str) -> GroupUsage | None:
        """None for one that is not there, or has no limits. TEMPLATE's is what all of them share, once."""
        if sandbox_id == TEMPLATE:
            return GroupUsage(self._template.memory_bytes(), 0.0, 1, 0)
        sandbox = self._all.get(sandbox_id)
        if sandbox is None or sandbox.group is None:
            return None
        with contextlib.suppress(OSError):
            return sandbox.group.usage()
        return None

    async def end_all(self) -> None:
        await asyncio.gather(*(self.kill(name) for name in list(self._all)), return_exceptions=True)

    async def _make(self, sandbox_id: str, sandbox: _Sandbox, listener: int, egress: bool) -> tuple[int, ...]:
        ours, theirs = messages.pair()
        channel = Channel(ours)
        try:
            with theirs:
                self._template.fork(self._order(sandbox_id, egress), (listener, theirs.fileno()))
            born = await self._step(channel, "born")
            if sandbox.group:
                sandbox.group.add(born.pid)
            channel.send({"do": "go"})
            apart = await self._step(channel, "apart")
            self._write_maps(apart.pid, sandbox.slot)
            channel.send({"do": "go"})
            first = await self._step(channel, "pid1")
            sandbox.pidfd = os.pidfd_open(first.pid)
            try:
                channel.send({"do": "go"})
                with contextlib.suppress(messages.Gone):  # it closes the channel when it is confined
                    await self._step(channel, "")
            except BaseException:
                messages.close(first.descriptors)
                raise
        except (OSError, messages.Gone) as error:
            raise LaunchError(f"a sandbox could not be made: {str(error) or 'it ended at once'}") from error
        finally:
            channel.close()
        sandbox.watch = asyncio.create_task(self._watch(sandbox_id, sandbox))
        return first.descriptors

    def _order(self, sandbox_id: str, egress: bool) -> dict[str, Any]:
        sizes = self._sizes
        return {
            "sandbox_id": sandbox_id,
            "environment": self._environment,
            "home_bytes": sizes.home_bytes,
            "tmp_bytes": sizes.tmp_bytes,
            "inodes": sizes.inodes,
            "egress": egress,
            "maps_itself": self._users is None,
        }

    async def _step(self, channel: Channel, expected: str) -> messages.Packet:
        try:
            packet = await asyncio.wait_for(channel.receive(), STEP_SECONDS)
        except TimeoutError:
            raise LaunchError("a sandbox is not made in time", "the machine may be overloaded: try again") from None
        if packet.content.get("step") != expected or "failed" in packet.content:
            messages.close(packet.descriptors)
            raise LaunchError(f"a sandbox could not be made: {str(packet.content.get('failed'))[:300]}", _MEND)
        return packet

    def _write_maps(self, pid: int, slot: int) -> None:
        """One user of the sandbox is one of the host's that nobody else is; there is no other."""
        if self._users is None:
            return
        line = f"{USER_ID} {self._users + slot} 1"
        for name in ("uid_map", "gid_map"):
            with open(f"/proc/{pid}/{name}", "w", encoding="ascii") as file:  # noqa: PTH123
                file.write(line)

    async def _watch(self, sandbox_id: str, sandbox: _Sandbox) -> None:
        await ended(sandbox.pidfd)
        usage = self.usage(sandbox_id)
        reason = "out_of_memory" if usage and usage.oom_kills else "exited"
        await self._clear(sandbox_id, sandbox)
        if not sandbox.killed:
            self._told_exit(sandbox_id, reason)

    async def _clear(self, sandbox_id: str, sandbox: _Sandbox) -> None:
        """Ends what is left, and gives name, slot and cgroup back when it is gone."""
        if sandbox.pidfd >= 0:
            _signal(sandbox.pidfd)
            os.close(sandbox.pidfd)
            sandbox.pidfd = -1
        while sandbox.group:
            try:
                await self._remove(sandbox.group)
                break
            except OSError as error:  # TimeoutError too; it is not gone, and nobody is told that it were
                log.error("sandbox %s cannot be cleared away yet: %s", sandbox_id, error)
                await asyncio.sleep(RETRY_SECONDS)
        self._all.pop(sandbox_id, None)
        self._free.append(sandbox.slot)
        sandbox.gone.set()

    async def _remove(self, group: Group) -> None:
        """In a thread of its own: one that takes long holds up no other."""
        await asyncio.get_running_loop().run_in_executor(self._removers, group.remove)


_MEND = "./capibara6 doctor says what this machine lacks"


def _signal(pidfd: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def listening(descriptor: int) -> bool:
    """Whether a descriptor is a listening unix stream socket: what a gateway may hand over, and nothing else."""
    if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
        return False
    with socket.socket(fileno=os.dup(descriptor)) as given:
        return (
            given.family == socket.AF_UNIX
            and given.type == socket.SOCK_STREAM
            and given.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) == 1
        )


def close_at_once(descriptors: Sequence[int]) -> None:
    """Closes what a gateway handed over. A socket told to linger would hold up whoever closes it last."""
    for descriptor in descriptors:
        if stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            with socket.socket(fileno=os.dup(descriptor)) as given, contextlib.suppress(OSError):
                given.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
        os.close(descriptor)
