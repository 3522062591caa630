"""All engines by name: started when they are asked for, ended when they idle, the default one kept running."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from services_node.tts_server.engines.contract import EngineError, EngineInfo, Missing
from services_node.tts_server.engines.known import ENGINES, Known
from services_node.tts_server.engines.process import EngineProcess
from stack.install.environments import environment_python
from stack.settings import Settings

log = logging.getLogger("services_node.tts_server.engines")

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 60.0  # before an engine that ended is started again


class EngineProcesses:
    """All engines (`contract.Engines`). One that crashed is started anew when it is next asked for, or by `keep`."""

    def __init__(self, settings: Settings, known: Mapping[str, Known] = ENGINES) -> None:
        self._settings = settings
        self._known = known
        self._running: dict[str, EngineProcess] = {}
        self._starting: dict[str, asyncio.Task[EngineProcess]] = {}
        self._told: dict[str, EngineInfo] = {}  # of an engine that ran, or said why it can't
        self._idling: asyncio.Task[None] | None = None

    def infos(self) -> Sequence[EngineInfo]:
        return [self._info(known) for known in self._known.values()]

    async def get(self, name: str) -> EngineProcess:
        """Raises Missing, Damaged, Crashed, KeyError. One that leaves while it starts disturbs nobody else's wait."""
        known = self._known[name]
        running = self._running.get(name)
        if running is not None and running.ended is None:
            running.idle_since = time.monotonic()
            return running
        if why := self._lacks(known):
            raise why
        starting = self._starting.get(name)
        if starting is None:
            starting = asyncio.create_task(self._start(known), name=f"start {name}")
            starting.add_done_callback(lambda task: task.cancelled() or task.exception())  # told to those who wait
            self._starting[name] = starting
        return await asyncio.shield(starting)

    async def keep(self, name: str) -> None:
        """Has it started. One that always runs is started again whenever it ends; this does not return then."""
        wait, known = FIRST_WAIT_SECONDS, self._known[name]
        while True:
            engine = None
            try:
                engine = await self.get(name)
            except EngineError as error:
                log.error("an engine did not start", extra={"engine": name, "error": str(error)})
            if not known.always:
                return
            if engine is not None:
                began = time.monotonic()
                await engine.gone()
                if time.monotonic() - began > LONGEST_WAIT_SECONDS:
                    wait = FIRST_WAIT_SECONDS
            await asyncio.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)

    async def close(self) -> None:
        tasks = [*self._starting.values(), *([self._idling] if self._idling else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.gather(*(engine.stop() for engine in self._running.values()))
        self._running.clear()

    async def _start(self, known: Known) -> EngineProcess:
        try:
            earlier = self._running.pop(known.name, None)
            if earlier is not None:
                await earlier.stop()
            began = time.monotonic()
            engine = await EngineProcess.start(known, self._settings)
        except EngineError as error:
            self._told[known.name] = EngineInfo(
                known.name,
                "missing" if isinstance(error, Missing) else "failed",
                mend=" ".join(filter(None, (error.detail, error.mend))),
                speeds=known.speeds,
                languages=known.languages,
            )
            raise
        finally:
            self._starting.pop(known.name, None)
        self._running[known.name] = engine
        self._told[known.name] = engine.info
        seconds = round(time.monotonic() - began, 2)
        log.info("an engine is ready", extra={"engine": known.name, "pid": engine.pid, "seconds": seconds})
        if not known.always and self._idling is None:
            self._idling = asyncio.create_task(self._end_idle(), name="idle engines")
        return engine

    async def _end_idle(self) -> None:
        """Engines that nobody asks for give their memory back."""
        patience = self._settings.tts_idle_seconds
        while True:
            await asyncio.sleep(min(patience, 5))
            for name, engine in list(self._running.items()):
                idle = not engine.busy and time.monotonic() - engine.idle_since > patience
                if idle and not self._known[name].always:
                    del self._running[name]
                    await engine.stop()
                    log.info("an idle engine was ended", extra={"engine": name})

    def _info(self, known: Known) -> EngineInfo:
        running = self._running.get(known.name)
        if running is not None and running.ended is None:
            return running.info
        told = self._told.get(known.name) or EngineInfo(
            known.name, "idle", speeds=known.speeds, languages=known.languages
        )
        if known.name in self._starting:
            return replace(told, state="starting", mend="")
        if why := self._lacks(known):
            return replace(told, state="missing", mend=f"{why.detail} {why.mend}")
        if running is not None:  # it crashed, and starts again when it is asked for
            return replace(told, state="failed", mend=running.ended or "")
        return replace(told, state="idle") if told.state == "ready" else told

    def _lacks(self, known: Known) -> Missing | None:
        """What can be told without starting it."""
        if environment_python(self._settings, known.environment).exists():
            return None
        return Missing(
            f"The environment of engine {known.name} is not installed.",
            f"Run `./capibara6 install --tts {known.name}`.",
        )
