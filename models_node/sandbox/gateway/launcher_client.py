"""The gateway's end of the channel to the launcher."""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
from collections.abc import Callable
from typing import Any

from models_node.sandbox.errors import LaunchFailed
from models_node.sandbox.gateway.launching import Usage
from models_node.sandbox.inside import messages
from models_node.sandbox.launcher.channel import Channel

_STARTING = "the sandboxes' template is starting (try again in some seconds)"
ANSWER_SECONDS = 60.0  # longer than all the steps that the launcher itself limits


class LauncherClient:
    """See `launching.Launcher`. Made in the event loop that uses it; the process ends when the launcher has gone."""

    def __init__(self, descriptor: int) -> None:
        self._channel = Channel(socket.socket(fileno=descriptor))
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[messages.Packet]] = {}
        self._exits: list[Callable[[str, str], None]] = []
        self._starting = True
        self._unavailable: str | None = _STARTING
        self._channel.send({"do": "hello"})
        self._hearing = asyncio.create_task(self._hear())

    @property
    def unavailable(self) -> str | None:
        """Why no sandbox can be had now, with the mend."""
        return self._unavailable

    @property
    def starting(self) -> bool:
        """Whether that will change by itself, in some seconds."""
        return self._starting

    def on_exit(self, callback: Callable[[str, str], None]) -> None:
        self._exits.append(callback)

    async def create(self, sandbox_id: str, listener: socket.socket, *, egress: bool) -> socket.socket | None:
        asked = {"do": "create", "sandbox_id": sandbox_id, "egress": egress}
        answer = await self._ask(asked, (listener.fileno(),))
        return socket.socket(fileno=answer.descriptors[0]) if answer.descriptors else None

    async def kill(self, sandbox_id: str) -> None:
        await self._ask({"do": "kill", "sandbox_id": sandbox_id})

    async def usage(self, sandbox_id: str) -> Usage | None:
        told = (await self._ask({"do": "usage", "sandbox_id": sandbox_id})).content.get("usage")
        return Usage(told["memory_bytes"], told["cpu_seconds"], told["processes"]) if told else None

    async def _ask(self, order: dict[str, Any], descriptors: tuple[int, ...] = ()) -> messages.Packet:
        """Raises LaunchFailed in the launcher's own words."""
        call = next(self._numbers)
        answered: asyncio.Future[messages.Packet] = asyncio.get_running_loop().create_future()
        self._waiting[call] = answered
        try:
            self._channel.send({**order, "call": call}, descriptors)
            packet = await asyncio.wait_for(answered, ANSWER_SECONDS)
        except (OSError, TimeoutError) as error:
            raise LaunchFailed(f"the launcher does not answer ({type(error).__name__})") from None
        finally:
            self._waiting.pop(call, None)
        if "failed" in packet.content:
            raise LaunchFailed(str(packet.content["failed"]), str(packet.content.get("mend") or ""))
        return packet

    async def _hear(self) -> None:
        try:
            while True:
                self._take(await self._channel.receive())
        except messages.Gone:
            os._exit(1)  # without its launcher a gateway has nothing to offer; bubblewrap would end it just after

    def _take(self, packet: messages.Packet) -> None:
        content = packet.content
        match content.get("event"):
            case "available" | "starting" as word:
                self._starting = word == "starting"
                self._unavailable = _STARTING if self._starting else None
            case "unavailable":
                self._starting = False
                mend = content.get("mend")
                self._unavailable = str(content["reason"]) + (f" ({mend})" if mend else "")
            case "exit":
                for callback in self._exits:
                    callback(content["sandbox_id"], content["reason"])
            case _:
                answered = self._waiting.get(content.get("call", -1))
                if answered and not answered.done():
                    answered.set_result(packet)
                    return
        messages.close(packet.descriptors)
