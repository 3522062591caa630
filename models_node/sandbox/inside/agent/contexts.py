"""Contexts: each has a language, a folder, a kernel and a queue of executions, owned by one task.

A kernel that dies ends its execution with an error; the next execution starts a new one. Whoever leaves gets its
execution interrupted: SIGINT, and SIGKILL when that does not help in time.
"""

import asyncio
import contextlib
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from . import AgentLimits
from .children import Children
from .errors import NotReady, TooMany
from .execution import Execution
from .kernel import Kernel, KernelMain

MAX_QUEUED = 64
INTERRUPT_SECONDS = 3.0
START_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Restart:
    """A place in the queue: a new kernel, and who waits for it."""

    done: asyncio.Future[None]


class _Run:
    """Listens to the kernel for one execution."""

    def __init__(self, execution: Execution) -> None:
        self.execution = execution
        self.done = asyncio.Event()

    def text(self, stream: str, text: str) -> None:
        self.execution.text(stream, text)

    def frame(self, message: dict[str, Any]) -> None:
        match message:
            case {"event": "result", "data": dict(data)}:
                self.execution.result(data, is_main_result=message.get("is_main_result") is True)
            case {"event": "stdout" | "stderr" as stream, "text": str(text)}:
                self.execution.text(stream, text)
            case {"event": "error", "name": str(name), "value": str(value), "traceback": str(traceback)}:
                self.execution.error(name, value, traceback)
            case {"event": "count", "execution_count": int(number)}:
                self.execution.count(number)
            case {"event": "done"}:
                self.done.set()


class Context:
    """One context. `submit`, `restart` and `close` may be called by any request; its task does the rest."""

    def __init__(self, language: str, cwd: str, main: KernelMain, children: Children, limits: AgentLimits) -> None:
        self.id = str(uuid.uuid4())
        self.language = language
        self.cwd = cwd
        self._main = main
        self._children = children
        self._limits = limits
        self._kernel: Kernel | None = None
        self._queue: deque[Execution | Restart] = deque()
        self._wake = asyncio.Event()
        self._restarting = False
        self._task = asyncio.get_running_loop().create_task(self._work())

    @property
    def ready(self) -> bool:
        """Whether its kernel can run code at once."""
        kernel = self._kernel
        return kernel is not None and kernel.alive and kernel.ready.done()

    def submit(self, code: str, envs: Mapping[str, str]) -> Execution:
        """Queues code. Raises TooMany."""
        if len(self._queue) >= MAX_QUEUED:
            raise TooMany(f"{MAX_QUEUED} executions wait in this context already; try again when some have ended")
        execution = Execution(code, envs, self._limits.output_bytes)
        self._queue.append(execution)
        self._wake.set()
        return execution

    async def restart(self) -> None:
        """Ends what runs and gives the context a new kernel. Raises NotReady."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.appendleft(Restart(done))
        self._wake.set()
        if self._kernel is not None:
            self._restarting = True
            self._kernel.kill()
        await done

    async def start(self) -> None:
        """Starts the kernel ahead of the first execution. Raises NotReady."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(Restart(done))
        self._wake.set()
        await done

    async def close(self) -> None:
        """Ends it and everything in its queue."""
        self._task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._task
        kernel = self._kernel
        if kernel is not None:
            kernel.kill()
            await kernel.ended
        for item in self._queue:
            if isinstance(item, Execution):
                item.verdict("ContextClosed", "the context was removed before this code ran")
                item.finish()
            elif not item.done.done():
                item.done.set_exception(NotReady("the context was removed"))

    async def _work(self) -> None:
        while True:
            while not self._queue:
                self._wake.clear()
                await self._wake.wait()
            item = self._queue.popleft()
            if isinstance(item, Restart):
                await self._replace(item)
            elif not item.abandoned.is_set():
                await self._answer(item)

    async def _answer(self, execution: Execution) -> None:
        try:
            await self._run(execution)
        except Exception as error:  # this task serves every later execution too
            execution.verdict("InternalError", repr(error))
            if self._kernel is not None:
                self._kernel.kill()
        finally:
            execution.finish()

    async def _replace(self, item: Restart) -> None:
        try:
            if self._kernel is not None:
                self._kernel.kill()
                await self._kernel.ended
            await self._live_kernel()
        except NotReady as error:
            if not item.done.done():
                item.done.set_exception(error)
        else:
            if not item.done.done():
                item.done.set_result(None)
        finally:
            self._restarting = False

    async def _live_kernel(self) -> Kernel:
        """The kernel, ready; a new one where there is none. Raises NotReady."""
        kernel = self._kernel
        if kernel is None or not kernel.alive:
            try:
                kernel = Kernel(self._children, self._main, self.cwd, self._limits.output_bytes)
            except OSError as error:
                raise NotReady(f"no kernel could be started: {error.strerror}") from error
            self._kernel = kernel
        try:
            await asyncio.wait_for(asyncio.shield(kernel.ready), START_SECONDS)
        except (TimeoutError, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and not kernel.ready.cancelled():
                raise
            kernel.kill()
            raise NotReady(f"the {self.language} kernel did not start") from error
        return kernel

    async def _run(self, execution: Execution) -> None:
        try:
            kernel = await self._live_kernel()
        except NotReady as error:
            execution.verdict("KernelNotReady", str(error))
            return
        run = _Run(execution)
        kernel.listen(run)
        try:
            kernel.send({"op": "execute", "code": execution.code, "envs": execution.envs})
            await self._watch(kernel, run)
        except asyncio.CancelledError:
            execution.verdict("ContextClosed", "the context was removed while this code ran")
            raise
        finally:
            kernel.listen(None)

    async def _watch(self, kernel: Kernel, run: _Run) -> None:
        """Until the kernel is done or gone, or has been told to stop and did not."""
        execution = run.execution
        loop = asyncio.get_running_loop()
        done = loop.create_task(run.done.wait())
        left = loop.create_task(execution.abandoned.wait())
        overflow = loop.create_task(execution.overflow.wait())
        tasks = {done, left, overflow}
        try:
            await asyncio.wait(
                {*tasks, kernel.ended}, timeout=self._limits.execution_seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if not run.done.is_set() and kernel.alive:
                if execution.overflow.is_set():
                    limit = self._limits.output_bytes
                    execution.verdict("OutputLimitExceeded", f"more than {limit} bytes of output: the code was stopped")
                elif not execution.abandoned.is_set():
                    limit_s = self._limits.execution_seconds
                    execution.verdict("TimeoutError", f"the code ran longer than {limit_s:g} s and was stopped")
                kernel.interrupt()
                await asyncio.wait({done, kernel.ended}, timeout=INTERRUPT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if not run.done.is_set():
                    kernel.kill()
                    await kernel.ended
            if not run.done.is_set():
                self._tell_death(kernel, execution)
        finally:
            for task in tasks:
                task.cancel()

    def _tell_death(self, kernel: Kernel, execution: Execution) -> None:
        status = kernel.ended.result()
        if self._restarting:
            execution.verdict("KernelRestarted", "the context was restarted while this code ran")
        elif status == -9:
            execution.verdict(
                "KernelDied",
                "the kernel was killed (SIGKILL), as happens when a sandbox is out of memory; "
                "its variables are lost, the next execution starts a new one",
            )
        else:
            how = f"signal {-status}" if status < 0 else f"exit code {status}"
            execution.verdict(
                "KernelDied",
                f"the kernel ended ({how}); its variables are lost, the next execution starts a new one",
            )
