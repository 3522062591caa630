"""Who is told of ended runs, in the tests: a server that verifies what comes and can be told to misbehave."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from wire.webhooks import WebhookRefused, verify


@dataclass
class Told:
    path: str
    id: str
    verified: bool
    body: dict[str, Any]

    @property
    def run(self) -> dict[str, Any]:
        return self.body["data"]["run"]


@dataclass
class Receiver:
    """answer: the status of the nth request, and its body. secrets: by which what comes may be signed."""

    port: int
    answer: Callable[[int, Told], tuple[int, str, bytes]] = lambda _n, _told: (200, "application/json", b"{}")
    secrets: set[str] = field(default_factory=set)
    told: list[Told] = field(default_factory=list)
    _server: ThreadingHTTPServer | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def at(self, path: str) -> list[Told]:
        return [one for one in self.told if one.path == path]

    def up(self) -> Receiver:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                headers = {name.lower(): value for name, value in self.headers.items()}
                with receiver._lock:
                    told = Told(self.path, headers["webhook-id"], receiver._verified(headers, body), json.loads(body))
                    receiver.told.append(told)
                    number = len(receiver.told)
                status, kind, said = receiver.answer(number, told)
                self.send_response(status)
                self.send_header("content-type", kind)
                self.send_header("content-length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: object) -> None:
                return

        ThreadingHTTPServer.allow_reuse_address = True
        self._server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def down(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def _verified(self, headers: dict[str, str], body: bytes) -> bool:
        for secret in self.secrets:
            try:
                verify(secret, headers, body, time.time())
            except WebhookRefused:
                continue
            return True
        return False
