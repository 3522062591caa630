"""One sandbox's life as the gateway has part in it: its socket, its launch, its way out, its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from pathlib import Path

from models_node.sandbox.errors import AgentUnreachable, LaunchFailed
from models_node.sandbox.gateway import events as e
from models_node.sandbox.gateway.egress import EgressProxy
from models_node.sandbox.gateway.egress_rules import EgressRules
from models_node.sandbox.gateway.launching import Launcher
from models_node.sandbox.gateway.limits import KILL_SECONDS, LAUNCH_SECONDS
from models_node.sandbox.gateway.upstream import ask

log = logging.getLogger("models_node.sandbox")

BACKLOG = 256
NOT_READY_PAUSE_SECONDS = 0.02
KILL_RETRY_SECONDS = 1.0


class Life:
    """Begins with its construction. Tells `Ready` or `Failed` once, and after `end` `Ended` once."""

    def __init__(
        self, sandbox_id: str, folder: Path, launcher: Launcher, rules: EgressRules, tell: Callable[[e.Event], None]
    ) -> None:
        self.id = sandbox_id
        self.socket = folder / sandbox_id
        self._launcher = launcher
        self._rules = rules
        self._tell = tell
        self._way_out: socket.socket | None = None
        self._proxy: EgressProxy | None = None
        self._ending = asyncio.Event()
        self._give_up = False
        self.task = asyncio.create_task(self._live(), name=f"sandbox {sandbox_id}")

    def end(self, *, give_up: bool) -> None:
        """give_up: a kill that does not succeed in its time is left to whoever ends the launcher."""
        self._give_up = self._give_up or give_up
        self._ending.set()

    def open_way_out(self) -> bool:
        """The sandbox's proxy begins to serve. False where there is none."""
        if self._way_out is None:
            return False
        listener, self._way_out = self._way_out, None
        self._proxy = EgressProxy(self.id, listener, self._rules)
        self._proxy.start()
        return True

    def close_way_out(self) -> None:
        """User code that tries the proxy is refused by its own kernel."""
        if self._way_out is not None:
            self._way_out.close()
            self._way_out = None

    async def _live(self) -> None:
        launching = asyncio.create_task(self._launch())
        ending = asyncio.create_task(self._ending.wait())
        await asyncio.wait({launching, ending}, return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if not launching.done():
            launching.cancel()
        failure = (await asyncio.gather(launching, return_exceptions=True))[0]
        if failure is None:
            self._tell(e.Ready(self.id))
        elif not self._ending.is_set():
            log.warning("launch failed", extra={"sandbox": self.id, "reason": str(failure)})
            self._tell(e.Failed(self.id, str(failure) or type(failure).__name__))
        await self._ending.wait()
        await self._clear_away()
        self._tell(e.Ended(self.id))

    async def _launch(self) -> None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with listener:
            listener.setblocking(False)
            listener.bind(str(self.socket))
            listener.listen(BACKLOG)
            async with asyncio.timeout(LAUNCH_SECONDS):
                self._way_out = await self._launcher.create(self.id, listener, egress=self._rules.any)
        try:
            async with asyncio.timeout(LAUNCH_SECONDS):
                while await ask(self.socket, "GET", "/ready") != 200:  # noqa: ASYNC110 (another process's state)
                    await asyncio.sleep(NOT_READY_PAUSE_SECONDS)
        except AgentUnreachable as error:
            raise LaunchFailed(f"its agent cannot be reached: {error}") from None
        except TimeoutError:
            raise LaunchFailed(f"its agent was not ready in {LAUNCH_SECONDS:g} s") from None

    async def _clear_away(self) -> None:
        self.close_way_out()
        if self._proxy is not None:
            await self._proxy.stop()
        while not await self._killed():
            if self._give_up:
                break
            await asyncio.sleep(KILL_RETRY_SECONDS)
        with contextlib.suppress(FileNotFoundError):
            self.socket.unlink()

    async def _killed(self) -> bool:
        try:
            async with asyncio.timeout(KILL_SECONDS):
                await self._launcher.kill(self.id)
        except Exception:
            log.exception("a sandbox could not be killed", extra={"sandbox": self.id})
            return False
        return True
