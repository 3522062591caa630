"""The agent's loop: one HTTP server on one listener, without threads, signal handlers for others, or an end."""

import asyncio
import gc
import logging
import signal
import socket
from pathlib import Path

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from . import AgentLimits
from .application import Application
from .children import Children, make_undumpable
from .paths import Paths

_IDLE_CONNECTION_SECONDS = 75

logger = logging.getLogger(__name__)


async def serve_for_ever(listener: socket.socket, limits: AgentLimits, home: Path) -> None:
    """Serves until the process is killed.

    uvicorn's own server would poll ten times a second and take SIGTERM, which user code could then send to pid 1:
    its protocol is served here instead, and only SIGCHLD is listened to.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    make_undumpable()
    # What was imported is shared with the template and every kernel: the collector shall not touch it.
    gc.collect()
    gc.freeze()
    children = Children()
    children.listen()
    application = Application(children, Paths(home), limits)
    config = Config(
        application,
        http=HttpToolsProtocol,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=_IDLE_CONNECTION_SECONDS,
    )
    config.load()
    state = ServerState()
    listener.setblocking(False)
    await asyncio.get_running_loop().create_server(
        lambda: HttpToolsProtocol(config=config, server_state=state, app_state={}), sock=listener
    )
    try:
        await application.interpreter.warm()
    except Exception:
        logger.exception("the first Python kernel did not start; the next execution tries again")
    await asyncio.Event().wait()
