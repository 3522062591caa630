"""Sandboxes by the E2B SDK: the only file that knows it. Works alike on our own gateway and on any other E2B endpoint.

Which sandbox is a conversation's stands in the sandbox's metadata, so that another process finds it again; what is
remembered here only saves asking. Nothing here closes a conversation's sandbox: its own timeout does, set anew each
time it is used.
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
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import httpx
from e2b import (
    AuthenticationException,
    FileType,
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
    sandbox_failed,
    sandbox_full,
    sandbox_lost,
    sandbox_refused,
    sandbox_unreachable,
    sandboxes_busy,
)
from flows.sandbox import CodeError, Entry, Executed, Listener, Opened, RawResult, Sandbox, TextStream, Wanted
from stack.settings import Settings
from stack.topology import load_topology
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

T = TypeVar("T")


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
        raise sandboxes_busy(str(error)) from error
    except AuthenticationException as error:
        raise sandbox_refused(str(error)) from error
    except NotEnoughSpaceException as error:
        raise sandbox_full(str(error)) from error
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
                await listener.text(stream, message.line)

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
    """The SDK's result by its forms."""
    texts = {name: value for name in TEXT_FORMS if (value := getattr(result, name)) is not None}
    if result.chart is not None:
        texts["chart"] = result.chart.to_dict()
    texts |= dict(result.extra or {})
    binaries = {name: base64.b64decode(value) for name in BINARY_FORMS if (value := getattr(result, name)) is not None}
    return RawResult(bool(result.is_main_result), texts, binaries)


def _executed(execution: Execution) -> Executed:
    error = execution.error
    return Executed(
        execution.execution_count, CodeError(error.name, error.value, error.traceback) if error is not None else None
    )


class E2BSandboxes:
    """`flows.sandbox.Sandboxes`. options: what the SDK is told (`connection`). stack: marks this stack's sandboxes."""

    def __init__(self, options: Mapping[str, Any], stack: str, wait_seconds: float) -> None:
        # A storm of sandboxes is told to the caller at once; the SDK's own retries would wait unseen.
        self._options: dict[str, Any] = {**options, "retries": 0, "request_timeout": wait_seconds}
        self._stack = stack
        self._known: OrderedDict[uuid.UUID, E2BSandbox] = OrderedDict()
        self._discarding: set[asyncio.Task[None]] = set()

    async def open(self, wanted: Wanted) -> Opened:
        lifetime = math.ceil(wanted.lifetime_seconds)
        with told():
            if wanted.conversation_id is None:
                return Opened(await self._create(wanted, lifetime), fresh=True)
            found = await self._kept(wanted.conversation_id, lifetime) or await self._found(wanted, lifetime)
            opened = Opened(found, fresh=False) if found else Opened(await self._create(wanted, lifetime), fresh=True)
            assert isinstance(opened.sandbox, E2BSandbox)  # noqa: S101 - made above
            self._known[wanted.conversation_id] = opened.sandbox
            self._known.move_to_end(wanted.conversation_id)
            while len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
            return opened

    def forget(self, conversation_id: uuid.UUID) -> None:
        self._known.pop(conversation_id, None)

    def discard(self, sandbox: Sandbox) -> None:
        self._later(self._kill(sandbox.id))

    def _later(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._discarding.add(task)
        task.add_done_callback(self._discarding.discard)

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
            await known.inner.set_timeout(lifetime, **self._options)
        except SandboxNotFoundException:
            self.forget(conversation_id)
            return None
        return known

    async def _found(self, wanted: Wanted, lifetime: int) -> E2BSandbox | None:
        assert wanted.conversation_id is not None  # noqa: S101 - `open` asked
        for sandbox_id in await self._ids(wanted.owner, wanted.conversation_id):
            try:
                return E2BSandbox(await AsyncSandbox.connect(sandbox_id, timeout=lifetime, **self._options))
            except SandboxNotFoundException:  # it ended meanwhile
                continue
        return None

    async def _ids(self, owner: str, conversation_id: uuid.UUID) -> list[str]:
        query = SandboxQuery(metadata=self._metadata(owner, conversation_id), state=[SandboxState.RUNNING])
        found = await AsyncSandbox.list(query=query, **self._options).next_items()
        return [one.sandbox_id for one in found]

    async def _create(self, wanted: Wanted, lifetime: int) -> E2BSandbox:
        metadata = self._metadata(wanted.owner, wanted.conversation_id) | {"run_id": str(wanted.run_id)}
        return E2BSandbox(await AsyncSandbox.create(timeout=lifetime, metadata=metadata, **self._options))

    def _metadata(self, owner: str, conversation_id: uuid.UUID | None) -> dict[str, str]:
        known = {"stack": self._stack, "owner": owner}
        return known | {"conversation_id": str(conversation_id)} if conversation_id else known

    async def _kill(self, sandbox_id: str) -> None:
        try:
            async with asyncio.timeout(DISCARD_SECONDS):
                await AsyncSandbox.kill(sandbox_id, **self._options)
        except Exception as error:  # its timeout ends it
            log.warning("a sandbox could not be ended", extra={"sandbox": sandbox_id, "reason": str(error)})
