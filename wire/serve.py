"""How every service process starts, says it may not, and stops."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
import socket
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any
from weakref import WeakKeyDictionary

import uvicorn
import uvloop
from fastapi import FastAPI
from starlette.types import Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from stack.errors import StackError
from stack.secrets import Secrets, load_secrets
from stack.settings import Settings, get_settings
from stack.topology import keys_needed, load_topology
from wire import telemetry
from wire.errors import ApiError
from wire.log import configure_logging

log = logging.getLogger("wire.serve")

AppFactory = Callable[[Settings, Secrets], FastAPI]
ABORT = "capibara6.abort"
HEAD_BYTES = 64 * 2**10  # of a request: its line and headers
HEAD_SECONDS = 10.0  # to the end of a request's head, and of a body that is sent after its answer
OPEN_CONNECTIONS = 4096  # of one server; fewer where the process may not have twice as many descriptors
GOODBYE_SECONDS = 1.0  # for a refusal to leave


class _Connections:
    """Those of one server. idle: on which nothing is being answered, the longest so first. most: that may be open."""

    def __init__(self) -> None:
        self.idle: dict[AbortableProtocol, None] = {}
        # An answer may need a second descriptor: a socket of an engine or a sandbox, a file.
        self.most = min(OPEN_CONNECTIONS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)


_connections: WeakKeyDictionary[ServerState, _Connections] = WeakKeyDictionary()


class AbortableProtocol(HttpToolsProtocol):
    """Lets an application end a connection at once, with what is not sent yet: ASGI itself can only wait for a client
    that does not read.

    Bounds what a client may do before anyone asks who it is: the bytes of a request's head, the time in which nothing
    is answered on a connection, and the number of connections. When there are too many, the one that has been idle for
    longest is ended, so that a newcomer with a request is heard. All of it is done per connection, per request and per
    piece received; what is sent costs nothing.
    """

    def __init__(self, config: uvicorn.Config, server_state: ServerState, *rest: Any, **more: Any) -> None:
        super().__init__(config, server_state, *rest, **more)
        self._all = _connections.setdefault(server_state, _Connections())
        self._deadline: asyncio.TimerHandle | None = None
        self._in_head = True  # also before its first byte
        self._head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._all.idle[self] = None
        self._deadline = self.loop.call_later(HEAD_SECONDS, self._too_slow)
        if len(self.connections) > self._all.most:
            next(iter(self._all.idle))._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._settle()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if not self._in_head:
            super().data_received(data)
        elif not self._head_received(data):
            return
        if self._deadline is None and self._unanswering() and not self.transport.is_closing():
            self._deadline = self.loop.call_later(HEAD_SECONDS, self._too_slow)

    def _head_received(self, data: bytes) -> bool:
        """In pieces that fit, so that a head in which there is no end is never kept. False: the connection ends."""
        while data:
            room = HEAD_BYTES - self._head_bytes
            if room <= 0:
                self._refuse(b"431 Request Header Fields Too Large")
                return False
            piece, data = (data, b"") if len(data) <= room or not self._in_head else (data[:room], data[room:])
            if self._in_head:  # the rest of a body that came together with its head is none of the next one's
                self._head_bytes += len(piece)  # set back where a head ends
            super().data_received(piece)
            if self.transport.is_closing():
                return False
        return True

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["extensions"] = {ABORT: {"abort": self.transport.abort}}

    def on_headers_complete(self) -> None:
        self._in_head, self._head_bytes = False, 0
        self._settle()
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        self._in_head = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing() and self._unanswering():
            self._all.idle[self] = None

    def _unanswering(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _settle(self) -> None:
        """Nothing is waited for any more."""
        self._all.idle.pop(self, None)
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _too_slow(self) -> None:
        self._deadline = None
        if self._head_bytes:
            self._refuse(b"408 Request Timeout")
        else:
            self._end()

    def _refuse(self, status: bytes) -> None:
        """Says why, where that can be said at once."""
        if not self._unanswering() or self.transport.get_write_buffer_size():
            self._end()
            return
        self._settle()
        self.transport.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()
        self.loop.call_later(GOODBYE_SECONDS, self.transport.abort)

    def _end(self) -> None:
        self._settle()
        self.connections.discard(self)  # now, not when its end is told: newcomers are counted meanwhile
        self.transport.abort()


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

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Sends the last spans too: after this, uvicorn raises the signal again, and the process is gone."""
        await super().shutdown(sockets)
        if telemetry.on():
            await asyncio.to_thread(telemetry.stop)


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
        telemetry.start(service)  # before the clients are made, which look whether it is on
        app = factory(settings, secrets)
    except StackError as error:
        return _refuse(service, f"{error} ({error.mend})" if error.mend else str(error), error.exit_code)
    except ApiError as error:
        return _refuse(service, error.detail, 2)
    _raise_descriptor_limit()
    host, port = topology.bind_host(service), topology.port(service)
    if keys_needed(settings, service):
        log.info("keys are asked for", extra={"host": host, "port": port})
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=AbortableProtocol,
        ws="none",  # no service speaks it, and its connections would know none of the bounds above
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


def _raise_descriptor_limit() -> None:
    """To what this process may have: a login's 1024 are for programs that serve nobody."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError) as error:
        log.warning("the limit of open files stays as it is", extra={"error": str(error)})


def _refuse(service: str, reason: str, status: int) -> int:
    sys.stderr.write(f"{service}: {reason}\n")
    return status
