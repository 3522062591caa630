"""An engine's life in a task of its own: started, ready, ended, stopped, told to the pool by messages."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable

from models_node.catalogue import ModelEntry
from models_node.errors import EngineFailed
from models_node.residency.engine import Engine, EngineLauncher
from models_node.residency.messages import Ended, Message, Ready

log = logging.getLogger("models_node.residency")


async def live(entry: ModelEntry, generation: int, launcher: EngineLauncher, tell: Callable[[Message], None]) -> None:
    """Starts the engine, tells that it is ready and that it ended. Cancelled to stop it; done when none of it is left.

    That it is gone is told by whoever watches the task: one cancelled before its first step never runs at all.
    """
    engine: Engine | None = None
    try:
        engine = await launcher.launch(entry)
        await engine.ready()
        tell(Ready(entry.id, generation, engine))
        reason = await engine.exited()
        tell(Ended(entry.id, generation, EngineFailed(reason)))
    except asyncio.CancelledError:
        pass  # the pool asked for its end, and waits for it
    except EngineFailed as failure:
        tell(Ended(entry.id, generation, failure))
    except Exception as error:
        log.exception("engine %s failed unexpectedly", entry.id)
        tell(Ended(entry.id, generation, EngineFailed(f"{type(error).__name__}: {error}")))
    finally:
        if engine is not None:
            await _whatever_comes(engine)


async def _whatever_comes(engine: Engine) -> None:
    """Stops the engine to the end, also when the task is cancelled (again) meanwhile."""
    stopping = asyncio.ensure_future(engine.stop())
    while not stopping.done():
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait({stopping})
    if error := stopping.exception():
        log.error("an engine could not be stopped cleanly", exc_info=error)
