"""The code interpreter's routes: `/execute` as a stream of NDJSON, `/contexts`."""

import asyncio
import contextlib
from typing import Any

from . import AgentLimits
from .children import Children
from .contexts import Context
from .environment import Environment, checked
from .errors import BadRequest, NotFound, RequestError, TooMany
from .execution import Execution
from .http import Receive, Scope, Send, answer, answer_json, json_body
from .languages import kernel_main, language_name
from .paths import Paths

KEEPALIVE_SECONDS = 5.0
MAX_CODE_BYTES = 8 * 2**20
MAX_CONTEXTS = 32


class Interpreter:
    """All contexts of the sandbox. The default context of a language is made when it is first asked for."""

    def __init__(self, children: Children, environment: Environment, paths: Paths, limits: AgentLimits) -> None:
        self._children = children
        self._environment = environment
        self._paths = paths
        self._limits = limits
        self._contexts: dict[str, Context] = {}
        self._defaults: dict[str, str] = {}

    async def warm(self) -> None:
        """Starts the default Python context's kernel."""
        await self._default("python").start()

    @property
    def ready(self) -> bool:
        """Whether the default Python context can run code at once."""
        return self._default("python").ready

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request of the interpreter's. Errors are plain text, as the SDK shows them."""
        try:
            await self._route(scope, receive, send)
        except RequestError as error:
            await answer(send, error.status, str(error).encode(), content_type="text/plain; charset=utf-8")

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        parts = scope["path"].strip("/").split("/")
        match (scope["method"], parts):
            case ("POST", ["execute"]):
                await self._execute(receive, send)
            case ("GET", ["contexts"]):
                await answer_json(send, [_described(context) for context in self._contexts.values()])
            case ("POST", ["contexts"]):
                body = await self._body(receive)
                language = language_name(_text(body, "language") or "python")
                cwd = self._folder(_text(body, "cwd"))
                await answer_json(send, _described(self._create(language, cwd)), status=201)
            case ("DELETE", ["contexts", name]):
                context = self._get(name)
                del self._contexts[name]
                await context.close()
                await answer(send, 204)
            case ("POST", ["contexts", name, "restart"]):
                await self._get(name).restart()
                await answer(send, 204)
            case _:
                raise NotFound(f"no route {scope['method']} {scope['path']}")

    async def _execute(self, receive: Receive, send: Send) -> None:
        body = await self._body(receive)
        code = body.get("code")
        if not isinstance(code, str):
            raise BadRequest("`code` must be a text")
        context_id, language = _text(body, "context_id"), _text(body, "language")
        if context_id and language:
            raise BadRequest("give `context_id` or `language`, not both")
        context = self._get(context_id) if context_id else self._default(language_name(language or "python"))
        envs = self._environment.for_code(checked(body.get("env_vars")))
        execution = context.submit(code, envs)
        await send(
            {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/x-ndjson")]}
        )
        leaving = asyncio.get_running_loop().create_task(_watch_client(receive, execution))
        try:
            await _stream(execution, send)
        finally:
            execution.abandoned.set()
            leaving.cancel()

    async def _body(self, receive: Receive) -> dict[str, Any]:
        return await json_body(receive, max_bytes=MAX_CODE_BYTES, stall_seconds=self._limits.stall_seconds)

    def _folder(self, cwd: str) -> str:
        folder = self._paths.resolve(cwd or "")
        if not folder.is_dir():
            raise BadRequest(f"cwd {str(folder)!r} is no folder")
        return str(folder)

    def _get(self, context_id: str) -> Context:
        context = self._contexts.get(context_id)
        if context is None:
            raise NotFound(f"Context {context_id} not found")
        return context

    def _default(self, language: str) -> Context:
        context = self._contexts.get(self._defaults.get(language, ""))
        if context is None:
            context = self._create(language, str(self._paths.home))
            self._defaults[language] = context.id
        return context

    def _create(self, language: str, cwd: str) -> Context:
        if len(self._contexts) >= MAX_CONTEXTS:
            raise TooMany(f"there are {MAX_CONTEXTS} contexts already; remove one first")
        context = Context(language, cwd, kernel_main(language), self._children, self._limits)
        self._contexts[context.id] = context
        return context


async def _stream(execution: Execution, send: Send) -> None:
    """Sends lines as they come, and a keepalive where none does."""
    while True:
        try:
            line = await asyncio.wait_for(execution.lines.get(), KEEPALIVE_SECONDS)
        except TimeoutError:
            line = b'{"type":"keepalive"}\n'
        lines = [line]
        with contextlib.suppress(asyncio.QueueEmpty):
            while len(lines) < 64:
                lines.append(execution.lines.get_nowait())
        last = execution.finished.is_set() and execution.lines.empty()
        await send({"type": "http.response.body", "body": b"".join(lines), "more_body": not last})
        if last:
            return


async def _watch_client(receive: Receive, execution: Execution) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    execution.abandoned.set()


def _described(context: Context) -> dict[str, str]:
    return {"id": context.id, "language": context.language, "cwd": context.cwd}


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise BadRequest(f"`{name}` must be a text")
    return value
