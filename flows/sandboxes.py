"""Sandboxes by the E2B SDK: the only file that knows it. Works alike on our own gateway and on any other E2B endpoint.

Which sandbox is a conversation's stands in the sandbox's metadata, so that another process finds it again; what is
remembered here only saves asking. A conversation's sandbox is closed by its own timeout, set anew each time it is used,
or earlier when it is idle and another run finds no place.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import math
import time
import uuid
from collections import OrderedDict
from collections.abc import AsyncIterator, Coroutine, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Any

import httpx
from e2b import (
    AuthenticationException,
    ConnectionConfig,
    FileNotFoundException,
    FileType,
    InvalidArgumentException,
    NotEnoughSpaceException,
    RateLimitException,
    SandboxException,
    SandboxNotFoundException,
    SandboxQuery,
    SandboxState,
    TimeoutException,
)
from e2b.exceptions import SandboxNotRunningException, SandboxUnreachableException, ServiceBusyException
from e2b_code_interpreter import AsyncSandbox, Execution, OutputMessage, Result  # type: ignore[import-untyped]

from flows.errors import (
    file_refused,
    sandbox_failed,
    sandbox_full,
    sandbox_lost,
    sandbox_refused,
    sandbox_unreachable,
    sandboxes_busy,
    sandboxes_unavailable,
)
from flows.sandbox import CodeError, Entry, Executed, Listener, Opened, RawResult, Sandbox, TextStream, Wanted
from stack.settings import Settings
from stack.topology import load_topology
from wire.context import outgoing_headers
from wire.errors import ApiError

log = logging.getLogger("flows.sandboxes")

HOME = PurePosixPath("/home/user")
VARIABLES = ("E2B_API_KEY", "E2B_API_URL", "E2B_SANDBOX_URL", "E2B_DOMAIN")
REMEMBERED = 256  # conversations whose sandbox needs not be looked for
DISCARD_SECONDS = 10.0
# A deadline of the SDK's is told by an exception that several ends share: this close to it, it was the deadline.
DEADLINE_SLACK_SECONDS = 0.5
BINARY_FORMS = ("png", "jpeg", "pdf")
TEXT_FORMS = ("text", "html", "markdown", "svg", "latex", "json", "javascript", "data")

# How our gateway begins to say that its machine cannot make sandboxes. The SDK passes on its words, not its code.
UNAVAILABLE = "No sandbox can be had here"


def connection(environment: Mapping[str, str], settings: Settings, key: str | None) -> dict[str, Any]:
    """What the SDK is told of where sandboxes are: nothing where E2B's own variables say it, else our gateway.

    key: the services key, None where the gateway asks for none. Debug mode is never on: it skips the control plane.
    """
    if any(environment.get(name) for name in VARIABLES):
        return {"debug": False}
    url = load_topology(settings).url("sandbox-gateway")
    return {"debug": False, "api_url": url, "sandbox_url": url, "api_key": key or "local"}


@contextmanager
def told() -> Iterator[None]:
    """The SDK's errors, by what they mean to us."""
    try:
        yield
    except ApiError:
        raise
    except (SandboxNotRunningException, SandboxNotFoundException):
        raise sandbox_lost() from None
    except SandboxUnreachableException as error:
        raise sandbox_unreachable(str(error)) from error
    except (ServiceBusyException, RateLimitException) as error:
        words = str(error)
        if UNAVAILABLE in words:
            raise sandboxes_unavailable(words[words.index(UNAVAILABLE) :]) from error
        raise sandboxes_busy(words) from error
    except AuthenticationException as error:
        raise sandbox_refused(str(error)) from error
    except NotEnoughSpaceException as error:
        raise sandbox_full(str(error)) from error
    except (InvalidArgumentException, FileNotFoundException) as error:
        raise file_refused(str(error)) from error
    except TimeoutException as error:
        if "was killed" in str(error):
            raise sandbox_lost() from None
        raise sandbox_unreachable(str(error)) from error
    except SandboxException as error:
        if error.status_code in {502, 503, 504}:
            raise sandboxes_busy(str(error)) from error
        raise sandbox_failed(str(error)) from error
    except (httpx.TransportError, OSError) as error:
        raise sandbox_unreachable(str(error) or type(error).__name__) from error


class _Carrying(AsyncSandbox):  # type: ignore[misc]
    """A sandbox whose every call carries the run id and trace of `headers`.

    The SDK has a place for headers of its control plane alone; a sandbox's own go into what it is made with, and
    `/execute` asks the client that it makes for itself.
    """

    headers: Mapping[str, str] = {}

    @classmethod
    def of(cls, known: AsyncSandbox, options: Mapping[str, Any]) -> _Carrying:
        """The same sandbox for the run in hand. Connections are shared: this makes none."""
        headers = outgoing_headers()
        config = ConnectionConfig(
            extra_sandbox_headers={**known.connection_config.sandbox_headers, **headers}, **options
        )
        made = cls(
            sandbox_id=known.sandbox_id,
            sandbox_domain=known.sandbox_domain,
            envd_version=known._envd_version,
            envd_access_token=known._envd_access_token,
            traffic_access_token=known.traffic_access_token,
            connection_config=config,
        )
        made.headers = headers
        return made

    @property
    def _client(self) -> httpx.AsyncClient:
        client: httpx.AsyncClient = super()._client
        client.headers.update(self.headers)
        return client


class E2BSandbox:
    """`flows.sandbox.Sandbox`."""

    def __init__(self, inner: AsyncSandbox) -> None:
        self.inner = inner

    @property
    def id(self) -> str:
        return str(self.inner.sandbox_id)

    async def write(self, path: str, source: bytes | Path) -> None:
        place = str(HOME / path)
        with told():
            if isinstance(source, bytes):
                await self.inner.files.write(place, source)
                return
            opened = await asyncio.to_thread(source.open, "rb")
            with opened:
                await self.inner.files.write(place, opened)

    async def entries(self, depth: int) -> dict[str, Entry]:
        with told():
            listed = await self.inner.files.list(str(HOME), depth=depth)
        found = {}
        for one in listed:
            path = PurePosixPath(one.path)
            if one.type is not FileType.FILE or not path.is_relative_to(HOME):
                continue
            relative = path.relative_to(HOME)
            if not any(part.startswith(".") for part in relative.parts):
                found[str(relative)] = Entry(str(relative), one.size, one.modified_time)
        return found

    async def read(self, path: str) -> AsyncIterator[bytes]:
        with told():
            stream = await self.inner.files.read(str(HOME / path), format="stream")
            async for chunk in stream:
                yield chunk

    async def run(self, code: str, language: str, listener: Listener, timeout_seconds: float) -> Executed:
        def hearing(stream: TextStream) -> Any:
            async def heard(message: OutputMessage) -> None:
                await listener.text(stream, _unicode(message.line))

            return heard

        async def shown(result: Result) -> None:
            await listener.result(raw_result(result))

        started = time.monotonic()
        with told():
            try:
                execution = await self.inner.run_code(
                    code,
                    language=language,
                    on_stdout=hearing("stdout"),
                    on_stderr=hearing("stderr"),
                    on_result=shown,
                    timeout=timeout_seconds,
                )
            except (SandboxNotRunningException, SandboxUnreachableException):
                raise
            except TimeoutException:
                if time.monotonic() - started < timeout_seconds - DEADLINE_SLACK_SECONDS:
                    raise
                value = f"The code ran longer than {timeout_seconds:g} s and was interrupted."
                return Executed(None, CodeError("ExecutionTimeout", value, ""))
        return _executed(execution)


def raw_result(result: Result) -> RawResult:
    """The SDK's result by its forms. User code can display anything: a form that is not what it says is left out."""
    texts = {name: value for name in TEXT_FORMS if (value := getattr(result, name)) is not None}
    with suppress(Exception):
        if result.chart is not None:
            texts["chart"] = result.chart.to_dict()
    if isinstance(result.extra, Mapping):
        texts |= {_unicode(name): value for name, value in result.extra.items()}
    binaries = {}
    for name in BINARY_FORMS:
        with suppress(ValueError, TypeError):
            if (value := getattr(result, name)) is not None:
                binaries[name] = base64.b64decode(value)
    return RawResult(bool(result.is_main_result), texts, binaries)


def _unicode(text: object) -> str:
    """Text that can be sent on: halves of surrogate pairs, which JSON brings along, become question marks."""
    return str(text).encode(errors="replace").decode()


def _executed(execution: Execution) -> Executed:
    error = execution.error
    told_as = error and CodeError(_unicode(error.name), _unicode(error.value), _unicode(error.traceback))
    return Executed(execution.execution_count, told_as)


class E2BSandboxes:
    """`flows.sandbox.Sandboxes`. options: what the SDK is told (`connection`). stack: marks this stack's sandboxes."""

    def __init__(self, options: Mapping[str, Any], stack: str, wait_seconds: float) -> None:
        # A storm of sandboxes is told to the caller at once; the SDK's own retries would wait unseen.
        self._options: dict[str, Any] = {**options, "retries": 0, "request_timeout": wait_seconds}
        self._stack = stack
        self._known: OrderedDict[uuid.UUID, E2BSandbox] = OrderedDict()  # the longest unused one first
        self._at_work: set[uuid.UUID] = set()
        self._giving_way: set[str] = set()  # being ended for another: not to be found again
        self._discarding: set[asyncio.Task[Any]] = set()
        self._unwanted: dict[uuid.UUID | None, asyncio.Task[Any]] = {}  # the last of a conversation, while it ends

    @property
    def _told(self) -> dict[str, Any]:
        """What each call of the control plane is told: where, and for which run."""
        return {**self._options, "api_headers": outgoing_headers()}

    async def open(self, wanted: Wanted) -> Opened:
        lifetime, conversation_id = math.ceil(wanted.lifetime_seconds), wanted.conversation_id
        if conversation_id is not None:
            self._at_work.add(conversation_id)
        with told():
            if conversation_id is None:
                return Opened(await self._create(wanted, lifetime), fresh=True)
            if (ending := self._unwanted.get(conversation_id)) is not None:
                await asyncio.wait({ending})  # it would be found
            found = await self._kept(conversation_id, lifetime) or await self._found(wanted, lifetime)
            sandbox = found or await self._create(wanted, lifetime)
            self._known[conversation_id] = sandbox
            self._known.move_to_end(conversation_id)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
            return Opened(sandbox, fresh=found is None)

    def release(self, conversation_id: uuid.UUID) -> None:
        self._at_work.discard(conversation_id)

    def forget(self, conversation_id: uuid.UUID) -> None:
        self._known.pop(conversation_id, None)

    def discard(self, sandbox: Sandbox) -> None:
        self._later(self._kill(sandbox.id))

    def _later(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.create_task(work)
        self._discarding.add(task)
        task.add_done_callback(self._discarding.discard)
        return task

    def close_conversation(self, owner: str, conversation_id: uuid.UUID) -> None:
        """Ends the conversation's sandbox, if there is one. Returns at once; what fails, its timeout does."""
        self.forget(conversation_id)
        self._later(self._close(owner, conversation_id))

    async def _close(self, owner: str, conversation_id: uuid.UUID) -> None:
        try:
            async with asyncio.timeout(DISCARD_SECONDS):
                for sandbox_id in await self._ids(owner, conversation_id):
                    await self._kill(sandbox_id)
        except Exception as error:
            log.warning("a conversation's sandbox could not be looked for", extra={"reason": str(error)})

    async def stop(self, seconds: float) -> None:
        """Waits, at most that long, until discarded sandboxes are gone."""
        if self._discarding:
            await asyncio.wait(self._discarding, timeout=seconds)

    async def _kept(self, conversation_id: uuid.UUID, lifetime: int) -> E2BSandbox | None:
        known = self._known.get(conversation_id)
        if known is None:
            return None
        try:
            await known.inner.set_timeout(lifetime, **self._told)
        except SandboxNotFoundException:
            self.forget(conversation_id)
            return None
        return E2BSandbox(_Carrying.of(known.inner, self._options))

    async def _found(self, wanted: Wanted, lifetime: int) -> E2BSandbox | None:
        assert wanted.conversation_id is not None  # noqa: S101 - `open` asked
        for sandbox_id in await self._ids(wanted.owner, wanted.conversation_id):
            if sandbox_id in self._giving_way:
                continue
            try:
                found = await AsyncSandbox.connect(sandbox_id, timeout=lifetime, **self._told)
            except SandboxNotFoundException:  # it ended meanwhile
                continue
            return E2BSandbox(_Carrying.of(found, self._options))
        return None

    async def _ids(self, owner: str, conversation_id: uuid.UUID) -> list[str]:
        query = SandboxQuery(metadata=self._metadata(owner, conversation_id), state=[SandboxState.RUNNING])
        found = await AsyncSandbox.list(query=query, **self._told).next_items()
        return [one.sandbox_id for one in found]

    async def _create(self, wanted: Wanted, lifetime: int) -> E2BSandbox:
        metadata = self._metadata(wanted.owner, wanted.conversation_id) | {"run_id": str(wanted.run_id)}
        try:
            made = await self._made(wanted.conversation_id, lifetime, metadata)
        except (ServiceBusyException, RateLimitException) as error:
            if UNAVAILABLE in str(error) or not await self._end_idle():
                raise
            made = await self._made(wanted.conversation_id, lifetime, metadata)
        return E2BSandbox(_Carrying.of(made, self._options))

    async def _made(self, conversation_id: uuid.UUID | None, lifetime: int, metadata: dict[str, str]) -> AsyncSandbox:
        """The service makes it to the end whoever has left: one that nobody waits for any more ends when it comes."""
        making = asyncio.create_task(AsyncSandbox.create(timeout=lifetime, metadata=metadata, **self._told))
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            ending = self._unwanted[conversation_id] = self._later(self._end_unwanted(making))
            ending.add_done_callback(lambda _: self._no_longer(conversation_id, ending))
            raise

    async def _end_unwanted(self, making: asyncio.Task[AsyncSandbox]) -> None:
        with suppress(Exception):  # none came
            await self._kill((await making).sandbox_id)

    def _no_longer(self, conversation_id: uuid.UUID | None, ended: asyncio.Task[Any]) -> None:
        if self._unwanted.get(conversation_id) is ended:
            del self._unwanted[conversation_id]

    async def _end_idle(self) -> bool:
        """Ends the longest idle conversation's sandbox; its owner's next reply says so. False: none is idle."""
        while idle := next((known for known in self._known if known not in self._at_work), None):
            sandbox_id = self._known.pop(idle).id
            self._giving_way.add(sandbox_id)
            try:
                ended = await self._kill(sandbox_id)
            finally:
                self._giving_way.discard(sandbox_id)
            if ended:
                log.info("an idle conversation's sandbox gave way to another run", extra={"sandbox": sandbox_id})
                return True
        return False

    def _metadata(self, owner: str, conversation_id: uuid.UUID | None) -> dict[str, str]:
        known = {"stack": self._stack, "owner": owner}
        return known | {"conversation_id": str(conversation_id)} if conversation_id else known

    async def _kill(self, sandbox_id: str) -> bool:
        """False when it had ended already, or cannot be ended."""
        try:
            async with asyncio.timeout(DISCARD_SECONDS):
                return bool(await AsyncSandbox.kill(sandbox_id, **self._told))
        except Exception as error:  # its timeout ends it
            log.warning("a sandbox could not be ended", extra={"sandbox": sandbox_id, "reason": str(error)})
            return False
