"""The template's process: started, told the limits, asked to fork, started again when it ends."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from models_node.sandbox.inside import messages
from models_node.sandbox.launcher.channel import Channel
from models_node.sandbox.launcher.errors import LaunchError

START_SECONDS = 120.0
CHANNEL_FD = 3


class Template:
    """command: see `view.template_command`. agent_limits: handed on to each sandbox's agent."""

    def __init__(self, command: Sequence[str], agent_limits: dict[str, Any]) -> None:
        self._command = list(command)
        self._agent_limits = agent_limits
        self._channel: Channel | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0

    def memory_bytes(self) -> int:
        """What is resident, shared with its forks or not: no sandbox is charged with it. 0: it is not there."""
        try:
            pages = int(Path(f"/proc/{self._pid}/statm").read_text(encoding="ascii").split()[1])
        except (OSError, IndexError):
            return 0
        return pages * os.sysconf("SC_PAGE_SIZE")

    async def start(self) -> None:
        """Returns when it can fork. Raises LaunchError with its own words."""
        ours, theirs = messages.pair()
        with theirs:
            self._process = _start(self._command, theirs)
        self._channel = Channel(ours)
        try:
            self._channel.send(self._agent_limits)
            packet = await asyncio.wait_for(self._channel.receive(), START_SECONDS)
            answer, self._pid = packet.content, packet.pid
        except (messages.Gone, OSError, TimeoutError) as error:
            await self.stop()
            raise LaunchError(
                f"the template of the sandboxes does not start ({type(error).__name__})",
                "see the service's log; user namespaces may be closed to it: ./capibara6 doctor",
            ) from None
        if "failed" in answer:
            await self.stop()
            raise LaunchError(f"the template of the sandboxes does not start: {answer['failed']}", "see the log")

    def fork(self, order: dict[str, Any], descriptors: Sequence[int]) -> None:
        """Raises LaunchError when it is not there."""
        try:
            if self._channel is None:
                raise OSError
            self._channel.send(order, descriptors)
        except OSError:
            raise LaunchError("the template of the sandboxes is starting again", "try again in some seconds") from None

    async def wait(self) -> None:
        """Returns when it has ended, and with it every sandbox."""
        if self._channel:
            with_packets = self._channel
            try:
                while True:
                    messages.close((await with_packets.receive()).descriptors)
            except messages.Gone:
                await self.stop()

    async def stop(self) -> None:
        """Ends it. bubblewrap is pid 1 of its pid namespace, in which those of all sandboxes lie: nothing survives."""
        channel, process = self._channel, self._process
        self._channel = self._process = None
        if channel:
            channel.close()
        if process:
            process.kill()
            await asyncio.to_thread(process.wait)


def _start(command: list[str], channel: socket.socket) -> subprocess.Popen[bytes]:
    """The channel becomes descriptor 3 of the program, and is all that it inherits but the log."""
    shell = ["sh", "-c", f'exec {CHANNEL_FD}<&{channel.fileno()} {channel.fileno()}<&-; exec "$@"', "template"]
    if channel.fileno() == CHANNEL_FD:
        shell = []
    return subprocess.Popen(
        [*shell, *command], stdin=subprocess.DEVNULL, pass_fds=(channel.fileno(),), start_new_session=True
    )
