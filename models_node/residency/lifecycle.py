"""An engine's life in a task of its own: started, ready, asleep, awake, ended, told to the pool by events."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from pathlib import Path

from models_node.catalogue import ModelEntry
from models_node.errors import EngineFailed
from models_node.residency import events as e
from models_node.residency.engine import Engine, EngineLauncher

log = logging.getLogger("models_node.residency")

RELEASE_RETRY_SECONDS = 2.0


class Life:
    """One engine from its start until none of it is left. Begins at once; `Gone` is told whatever happens."""

    def __init__(
        self, entry: ModelEntry, generation: int, launcher: EngineLauncher, tell: Callable[[e.Event], None]
    ) -> None:
        self.entry = entry
        self.generation = generation
        self.engine: Engine | None = None
        self.socket: Path | None = None  # once it served
        self._launcher = launcher
        self._tell = tell
        self._orders: asyncio.Queue[int] = asyncio.Queue()  # a level to sleep at, 0 to wake
        self._give_up = False
        self.task = asyncio.create_task(self._live(), name=f"engine {entry.id}")
        # Not in `_live`: a task cancelled before its first step never runs at all.
        self.task.add_done_callback(lambda _: tell(e.Gone(entry.id, generation)))

    def stop(self, *, give_up: bool = False) -> None:
        """give_up: when it cannot be ended, it is left at that after the next try."""
        self._give_up = self._give_up or give_up
        self.task.cancel()

    def sleep(self, level: int) -> None:
        self._orders.put_nowait(level)

    def wake(self) -> None:
        self._orders.put_nowait(0)

    async def _live(self) -> None:
        model, generation = self.entry.id, self.generation
        try:
            self.engine = await self._launcher.launch(self.entry)
            await self.engine.ready()
            self.socket = self.engine.socket
            self._tell(e.Loaded(model, generation, self.engine.can_sleep))
            await self._until_it_ends(self.engine)
        except asyncio.CancelledError:
            pass  # the pool asked for its end, and waits for it
        except EngineFailed as failure:
            self._tell(e.Died(model, generation, failure))
        except Exception as error:
            log.exception("engine %s failed unexpectedly", model)
            self._tell(e.Died(model, generation, EngineFailed(f"{type(error).__name__}: {error}")))
        finally:
            if self.engine is not None:
                await self._clear_away(self.engine)

    async def _until_it_ends(self, engine: Engine) -> None:
        """Raises EngineFailed at its end, or when it does not sleep or wake."""
        ended = asyncio.ensure_future(engine.exited())
        try:
            while True:
                order = asyncio.ensure_future(self._orders.get())
                try:
                    await asyncio.wait({ended, order}, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    order.cancel()
                if ended.done():
                    raise EngineFailed(ended.result())
                if level := order.result():
                    before = await asyncio.to_thread(engine.measure)
                    await engine.sleep(level)
                    after = await asyncio.to_thread(engine.measure)
                    parked = max(0, after.host_bytes - before.host_bytes)
                    self._tell(e.Slept(self.entry.id, self.generation, after.private_bytes, parked))
                else:
                    await engine.wake()
                    self._tell(e.Woken(self.entry.id, self.generation))
        finally:
            ended.cancel()

    async def _clear_away(self, engine: Engine) -> None:
        """Stops the engine to the end, also when the task is cancelled (again) meanwhile; tries again while something
        of it is left."""
        while True:
            stopping = asyncio.ensure_future(engine.stop())
            while not stopping.done():
                with contextlib.suppress(asyncio.CancelledError):
                    await asyncio.wait({stopping})
            error = stopping.exception()
            if error is None:
                return
            log.error("an engine is not gone", extra={"model": self.entry.id}, exc_info=error)
            if self._give_up:
                return
            self._tell(e.Stuck(self.entry.id, self.generation, str(error)))
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(RELEASE_RETRY_SECONDS)
