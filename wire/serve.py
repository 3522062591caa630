"""How every service process starts, says it may not, and stops."""

from __future__ import annotations

import asyncio
import gc
import logging
import socket
import sys
from collections.abc import Callable
from types import FrameType

import uvicorn
import uvloop
from fastapi import FastAPI
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from stack.errors import StackError
from stack.secrets import Secrets, load_secrets
from stack.settings import Settings, get_settings
from stack.topology import load_topology
from wire.border import keys_needed
from wire.errors import ApiError
from wire.log import configure_logging

log = logging.getLogger("wire.serve")

AppFactory = Callable[[Settings, Secrets], FastAPI]
ABORT = "capibara6.abort"


class AbortableProtocol(HttpToolsProtocol):
    """Lets an application end a connection at once, with what is not sent yet: ASGI itself can only wait for a client
    that does not read.
    """

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"abort": self.transport.abort}}


def abort_connection(scope: Scope) -> bool:
    """Ends the request's connection at once. False where the server cannot."""
    extension = scope.get("extensions", {}).get(ABORT)
    if extension is None:
        return False
    extension["abort"]()
    return True


class _Server(uvicorn.Server):
    """Tells the application of the first stop signal at once: uvicorn's own shutdown first waits for open streams."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._application = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._application.state.stopping.set()
        super().handle_exit(sig, frame)


def serve(factory: AppFactory, *, service: str) -> int:
    """Runs a service until it is told to stop. Returns the process's exit status.

    `app.state.stopping` (asyncio.Event) is set at the first SIGTERM or SIGINT. A service that may not run here, or
    that can't listen, says why in one line and returns a status above 0.
    """
    try:
        settings = get_settings()
        configure_logging(service, settings.log_level)
        topology = load_topology(settings)
        topology.check_placement(service)
        secrets = load_secrets(settings)
        app = factory(settings, secrets)
    except StackError as error:
        return _refuse(service, f"{error} ({error.mend})" if error.mend else str(error), error.exit_code)
    except ApiError as error:
        return _refuse(service, error.detail, 2)
    host, port = topology.bind_host(service), topology.port(service)
    if keys_needed(settings, service):
        log.info("keys are asked for", extra={"host": host, "port": port})
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=AbortableProtocol,
        log_config=None,
        access_log=False,
        proxy_headers=False,  # nobody here asks for the client's address
        server_header=False,
        timeout_graceful_shutdown=int(settings.graceful_stop_seconds),
        lifespan="on",
    )
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_run(config, app, service))


async def _run(config: uvicorn.Config, app: FastAPI, service: str) -> int:
    app.state.stopping = asyncio.Event()
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    # Named: asyncio sets TCP_NODELAY only on sockets that say they are TCP. Without it a small reply waits 40 ms.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.set_inheritable(False)
    try:
        listener.bind((config.host, config.port))
        listener.listen(2048)
    except OSError as error:
        listener.close()
        return _refuse(service, f"cannot listen on {config.host}:{config.port}: {error.strerror}", 5)
    server = _Server(config, app)
    gc.collect()
    gc.freeze()  # modules and routes live for ever: each full collection that walks them holds up every stream
    try:
        await server.serve(sockets=[listener])
    finally:
        listener.close()
    return 0 if server.started else 1


def _refuse(service: str, reason: str, status: int) -> int:
    sys.stderr.write(f"{service}: {reason}\n")
    return status
