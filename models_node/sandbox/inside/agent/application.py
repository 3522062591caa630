"""The agent's one ASGI application: envd and the interpreter, told apart by path."""

import contextlib
from typing import Any

from e2b.envd.filesystem.filesystem_connect import FilesystemASGIApplication
from e2b.envd.process.process_connect import ProcessASGIApplication

from . import AgentLimits
from .children import Children
from .environment import Environment, checked
from .errors import NotFound, NotReady, RequestError
from .files import Files
from .filesystem import FilesystemService
from .http import ClientGone, Receive, Scope, Send, answer, answer_error, answer_json, json_body
from .interpreter import Interpreter
from .paths import Paths
from .processes import ProcessService

_MAX_INIT_BYTES = 2**20
# One message of the Connect services: a piece of standard input, or a path.
_MAX_MESSAGE_BYTES = 16 * 2**20


class Application:
    """Routes requests; holds the sandbox's environment. Made in the running loop."""

    def __init__(self, children: Children, paths: Paths, limits: AgentLimits) -> None:
        self._limits = limits
        self._environment = Environment()
        self.interpreter = Interpreter(children, self._environment, paths, limits)
        self._files = Files(paths, limits)
        processes = ProcessService(children, self._environment, paths, limits)
        self._processes: Any = ProcessASGIApplication(processes, read_max_bytes=_MAX_MESSAGE_BYTES)
        self._filesystem: Any = FilesystemASGIApplication(FilesystemService(paths), read_max_bytes=_MAX_MESSAGE_BYTES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        path = scope["path"]
        with contextlib.suppress(ClientGone):
            if path.startswith("/process.Process/"):
                await self._processes(scope, receive, send)
            elif path.startswith("/filesystem.Filesystem/"):
                await self._filesystem(scope, receive, send)
            elif path == "/execute" or path == "/contexts" or path.startswith("/contexts/"):
                await self.interpreter.handle(scope, receive, send)
            else:
                await self._envd(scope, receive, send)

    async def _envd(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            match (scope["method"], scope["path"]):
                case ("GET", "/health"):
                    await answer(send, 204)
                case ("GET", "/files"):
                    await self._files.download(scope, send)
                case ("POST", "/files"):
                    await self._files.upload(scope, receive, send)
                case ("GET", "/envs"):
                    await answer_json(send, self._environment.for_command({}))
                case ("GET", "/ready"):
                    if not self.interpreter.ready:
                        raise NotReady("the Python kernel is starting")
                    await answer_json(send, {"ready": True})
                case ("POST", "/init"):
                    body = await json_body(receive, max_bytes=_MAX_INIT_BYTES, stall_seconds=self._limits.stall_seconds)
                    self._environment.add(checked(body.get("envVars")))
                    await answer(send, 204)
                case _:
                    raise NotFound(f"no route {scope['method']} {scope['path']}")
        except RequestError as error:
            await answer_error(send, error)
