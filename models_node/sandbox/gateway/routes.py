"""The routes of a sandbox that clients may reach, and what each may cost. Everything else ends at the gateway."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

ENVD_PORT = "49983"
INTERPRETER_PORT = "49999"

PROCESS = frozenset({"List", "Connect", "Start", "Update", "StreamInput", "SendInput", "SendSignal", "CloseStdin"})
FILESYSTEM = frozenset(
    {"Stat", "MakeDir", "Move", "ListDir", "Remove", "WatchDir", "CreateWatcher", "GetWatcherEvents", "RemoveWatcher"}
)
STREAMS = frozenset({"Connect", "Start", "WatchDir"})
CONTEXT = re.compile(r"/contexts/[A-Za-z0-9_-]{1,64}(?P<restart>/restart)?")


class Kind(Enum):
    """UNARY: one small question and answer. STREAM: an answer that may last as long as its sandbox. INPUT: a body that
    may. UPLOAD, DOWNLOAD: a file. EXECUTE: an answer with a deadline."""

    UNARY = "unary"
    STREAM = "stream"
    INPUT = "input"
    UPLOAD = "upload"
    DOWNLOAD = "download"
    EXECUTE = "execute"


@dataclass(frozen=True, slots=True)
class Route:
    """name: for metrics. envd_token, traffic_token: which of the sandbox's tokens it asks for."""

    name: str
    kind: Kind
    envd_token: bool
    traffic_token: bool


def route_of(port: str, method: str, path: str) -> Route | None:
    """None for what no client may reach; `/ready` and `/init` are the gateway's own."""
    if port == ENVD_PORT:
        return _envd(method, path)
    if port == INTERPRETER_PORT:
        return _interpreter(method, path)
    return None


def _envd(method: str, path: str) -> Route | None:
    match method, path:
        case "GET", "/health" | "/envs":
            return Route(path, Kind.UNARY, True, False)
        case "GET", "/files":
            return Route(path, Kind.DOWNLOAD, True, False)
        case "POST", "/files":
            return Route(path, Kind.UPLOAD, True, False)
    service, _, call = path.removeprefix("/").partition("/")
    if method != "POST" or call not in {"process.Process": PROCESS, "filesystem.Filesystem": FILESYSTEM}.get(
        service, ()
    ):
        return None
    kind = Kind.STREAM if call in STREAMS else Kind.INPUT if call == "StreamInput" else Kind.UNARY
    return Route(path, kind, True, False)


def _interpreter(method: str, path: str) -> Route | None:
    if (method, path) == ("POST", "/execute"):
        return Route(path, Kind.EXECUTE, True, True)
    if path == "/contexts" and method in ("GET", "POST"):
        return Route(path, Kind.UNARY, False, True)
    found = CONTEXT.fullmatch(path)
    if found is None or method != ("POST" if found["restart"] else "DELETE"):
        return None
    return Route("/contexts/{id}" + (found["restart"] or ""), Kind.UNARY, False, True)
