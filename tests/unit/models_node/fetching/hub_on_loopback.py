"""A small server with the routes of Hugging Face's hub that its client uses to download a model."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" * 6 + "beef"
LARGE = ".safetensors"  # what the hub keeps apart, with its sha256


@dataclass(slots=True)
class HubOnLoopback:
    """files: name to content of its only source. token: what it must be asked with. cut: a file whose next answer
    breaks off halfway. damaged: one whose bytes are not what its sha256 says. missing: one listed, and not there."""

    source: str
    files: dict[str, bytes]
    url: str = ""
    token: str | None = None
    cut: str | None = None
    damaged: str | None = None
    missing: str | None = None
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)  # method, path, range

    def served(self, name: str) -> bytes:
        content = self.files[name]
        return bytes(len(content)) if name == self.damaged else content

    def downloads(self, name: str) -> list[str | None]:
        """The ranges that were asked for of a file, oldest first."""
        return [wanted for method, path, wanted in self.asked if method == "GET" and path.endswith(f"/{name}")]


@contextmanager
def hub_on_loopback(source: str, files: dict[str, bytes]) -> Iterator[HubOnLoopback]:
    hub = HubOnLoopback(source, files)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def handler(hub: HubOnLoopback) -> type[BaseHTTPRequestHandler]:
    class Routes(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

        def do_HEAD(self) -> None:
            self.answer()

        def do_GET(self) -> None:
            self.answer()

        def answer(self) -> None:
            path = unquote(urlsplit(self.path).path)
            hub.asked.append((self.command, path, self.headers.get("range")))
            if self.refused(path):
                return
            if path == f"/api/models/{hub.source}/revision/main" or path.endswith(f"/revision/{COMMIT}"):
                self.json({"id": hub.source, "sha": COMMIT, "siblings": []})
            elif path == f"/api/models/{hub.source}/tree/{COMMIT}":
                self.json([self.described(name) for name in hub.files])
            elif match := re.fullmatch(rf"/{re.escape(hub.source)}/resolve/{COMMIT}/(.+)", path):
                self.file(match[1])
            else:
                self.failed(404, "RevisionNotFound" if "/revision/" in path else "EntryNotFound")

        def refused(self, path: str) -> bool:
            if hub.source not in path:
                self.failed(404, "RepoNotFound")
            elif hub.token and self.headers.get("authorization") != f"Bearer {hub.token}":
                self.failed(401 if not self.headers.get("authorization") else 403, "GatedRepo")
            elif hub.missing and path.endswith(f"/{hub.missing}"):
                self.failed(404, "EntryNotFound")  # a 500 the client would try again and again
            else:
                return False
            return True

        def described(self, name: str) -> dict[str, Any]:
            content = hub.files[name]
            told: dict[str, Any] = {"type": "file", "path": name, "size": len(content), "oid": etag(content)}
            if name.endswith(LARGE):
                told["lfs"] = {"oid": sha256(content), "size": len(content), "pointerSize": 130}
            return told

        def file(self, name: str) -> None:
            content = hub.served(name)
            first = 0
            if asked := re.fullmatch(r"bytes=(\d+)-", self.headers.get("range") or ""):
                first = int(asked[1])
            self.send_response(206 if first else 200)
            self.send_header("etag", f'"{sha256(hub.files[name]) if name.endswith(LARGE) else etag(content)}"')
            self.send_header("x-repo-commit", COMMIT)
            self.send_header("accept-ranges", "bytes")
            self.send_header("content-length", str(len(content) - first))
            if first:
                self.send_header("content-range", f"bytes {first}-{len(content) - 1}/{len(content)}")
            self.end_headers()
            if self.command == "HEAD":
                return
            if name == hub.cut:
                hub.cut = None
                self.wfile.write(content[: len(content) // 2])
                self.wfile.flush()
                self.close_connection = True
                return
            self.wfile.write(content[first:])

        def json(self, content: object) -> None:
            body = json.dumps(content).encode()
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def failed(self, status: int, code: str) -> None:
            self.send_response(status)
            if code:
                self.send_header("x-error-code", code)
            self.send_header("content-length", "0")
            self.end_headers()

    return Routes


def etag(content: bytes) -> str:
    """As git names a blob."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
