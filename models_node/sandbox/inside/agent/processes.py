"""envd's process service: commands and terminals, as streams of events."""

import asyncio
import contextlib
import signal as signals
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from connectrpc.code import Code
from connectrpc.errors import ConnectError
from connectrpc.request import RequestContext
from e2b.envd.process.process_pb import (
    PTY,
    CloseStdinRequest,
    CloseStdinResponse,
    ConnectRequest,
    ConnectResponse,
    ListRequest,
    ListResponse,
    ProcessConfig,
    ProcessEvent,
    ProcessInfo,
    ProcessInput,
    ProcessSelector,
    SendInputRequest,
    SendInputResponse,
    SendSignalRequest,
    SendSignalResponse,
    StartRequest,
    StartResponse,
    StreamInputRequest,
    StreamInputResponse,
    UpdateRequest,
    UpdateResponse,
)
from protobuf import Oneof

from . import AgentLimits
from .calls import deadline_of, keepalive_seconds, require_user
from .children import Children
from .commands import Command, CommandConfig, Ended, Stream, Subscriber, start_command
from .environment import Environment, checked
from .errors import BadRequest
from .paths import Paths

_Context = RequestContext[Any, Any]
_DEFAULT_SIZE = (24, 80)
_KILL_SECONDS = 2.0


class ProcessService:
    """Every command of the sandbox, by pid, while it runs."""

    def __init__(self, children: Children, environment: Environment, paths: Paths, limits: AgentLimits) -> None:
        self._children = children
        self._environment = environment
        self._paths = paths
        self._limits = limits
        self._commands: dict[int, Command] = {}

    async def list(self, request: ListRequest, ctx: _Context) -> ListResponse:
        return ListResponse(processes=[_info(command) for command in self._running()])

    async def start(self, request: StartRequest, ctx: _Context) -> AsyncIterator[StartResponse]:
        require_user(ctx)
        pause, deadline = keepalive_seconds(ctx), deadline_of(ctx)
        command = self._start(request)
        if ctx.timeout_ms is not None:
            command.expire_after(max(0, deadline - time.monotonic()))
        # It goes on when this client leaves: the SDK can disconnect and connect again.
        subscriber = command.subscribe()
        try:
            yield StartResponse(event=_started(command))
            async for event in _events(command, subscriber, pause, deadline):
                yield StartResponse(event=event)
        finally:
            command.unsubscribe(subscriber)

    async def connect(self, request: ConnectRequest, ctx: _Context) -> AsyncIterator[ConnectResponse]:
        command = self._selected(request.process)
        subscriber = command.subscribe()
        try:
            yield ConnectResponse(event=_started(command))
            async for event in _events(command, subscriber, keepalive_seconds(ctx), deadline_of(ctx)):
                yield ConnectResponse(event=event)
        finally:
            command.unsubscribe(subscriber)

    async def update(self, request: UpdateRequest, ctx: _Context) -> UpdateResponse:
        command = self._selected(request.process)
        if request.pty is not None:
            if not command.has_terminal:
                raise ConnectError(Code.INVALID_ARGUMENT, f"process {command.pid} has no terminal")
            command.resize(*_size(request.pty))
        return UpdateResponse()

    async def stream_input(self, request: AsyncIterator[StreamInputRequest], ctx: _Context) -> StreamInputResponse:
        command: Command | None = None
        async for message in request:
            match message.event:
                case Oneof(field="start", value=StreamInputRequest.StartEvent() as start):
                    command = self._selected(start.process)
                case Oneof(field="data", value=StreamInputRequest.DataEvent() as data):
                    if command is None:
                        raise ConnectError(Code.INVALID_ARGUMENT, "input before the process was named")
                    await self._write(command, data.input)
                case _:
                    pass
        return StreamInputResponse()

    async def send_input(self, request: SendInputRequest, ctx: _Context) -> SendInputResponse:
        await self._write(self._selected(request.process), request.input)
        return SendInputResponse()

    async def send_signal(self, request: SendSignalRequest, ctx: _Context) -> SendSignalResponse:
        command = self._selected(request.process)
        number = int(request.signal)
        if number not in (signals.SIGTERM, signals.SIGKILL):
            raise ConnectError(Code.INVALID_ARGUMENT, "only SIGTERM and SIGKILL can be sent")
        if not command.signal(number):
            raise ConnectError(Code.NOT_FOUND, f"process {command.pid} has ended")
        if number == signals.SIGKILL:
            # Whoever killed it does not find it any more.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(command.gone.wait(), _KILL_SECONDS)
        return SendSignalResponse()

    async def close_stdin(self, request: CloseStdinRequest, ctx: _Context) -> CloseStdinResponse:
        command = self._selected(request.process)
        if command.has_terminal:
            raise ConnectError(Code.FAILED_PRECONDITION, "a terminal's input ends with Ctrl+D (0x04)")
        command.close_stdin()
        return CloseStdinResponse()

    def _running(self) -> Sequence[Command]:
        self._commands = {pid: command for pid, command in self._commands.items() if command.result is None}
        return list(self._commands.values())

    def _start(self, request: StartRequest) -> Command:
        asked = request.process or ProcessConfig()
        cwd = self._folder(asked.cwd if asked.has_field("cwd") else "")
        if not asked.cmd or any("\0" in argument for argument in (asked.cmd, *asked.args)):
            raise ConnectError(Code.INVALID_ARGUMENT, "a command without a name, or with a zero byte")
        try:
            envs = checked(dict(asked.envs))
        except BadRequest as error:
            raise ConnectError(Code.INVALID_ARGUMENT, str(error)) from error
        config = CommandConfig(
            arguments=(asked.cmd, *asked.args),
            envs=envs,
            cwd=asked.cwd if asked.has_field("cwd") else None,
            tag=request.tag if request.has_field("tag") else None,
            size=None if request.pty is None else _size(request.pty),
        )
        stdin = request.stdin if request.has_field("stdin") else True
        env = self._environment.for_command(envs)
        limit = self._limits.output_bytes
        try:
            command = start_command(self._children, config, env, cwd, stdin=stdin, output_bytes=limit)
        except (FileNotFoundError, PermissionError) as error:
            raise ConnectError(Code.INVALID_ARGUMENT, f"{asked.cmd!r}: {error.strerror}") from error
        except OSError as error:
            raise ConnectError(Code.RESOURCE_EXHAUSTED, f"{asked.cmd!r} cannot be started: {error.strerror}") from error
        self._running()
        self._commands[command.pid] = command
        return command

    def _folder(self, cwd: str) -> Path:
        try:
            folder = self._paths.resolve(cwd)
        except BadRequest as error:
            raise ConnectError(Code.INVALID_ARGUMENT, str(error)) from error
        if not folder.is_dir():
            raise ConnectError(Code.INVALID_ARGUMENT, f"cwd '{folder}' does not exist")
        return folder

    def _selected(self, selector: ProcessSelector | None) -> Command:
        match selector.selector if selector is not None else None:
            case Oneof(field="pid", value=int(pid)):
                found = [command for command in self._running() if command.pid == pid]
                name = f"pid {pid}"
            case Oneof(field="tag", value=str(tag)):
                found = [command for command in self._running() if command.config.tag == tag]
                name = f"tag {tag!r}"
            case _:
                raise ConnectError(Code.INVALID_ARGUMENT, "no process named: give its pid or its tag")
        if not found:
            raise ConnectError(Code.NOT_FOUND, f"process with {name} not found")
        return found[0]

    async def _write(self, command: Command, piece: ProcessInput | None) -> None:
        match piece.input if piece is not None else None:
            case Oneof(field="stdin" | "pty" as kind, value=bytes(data)):
                if (kind == "pty") != command.has_terminal:
                    raise ConnectError(Code.INVALID_ARGUMENT, f"process {command.pid} takes no {kind} input")
                if not command.takes_input:
                    raise ConnectError(
                        Code.FAILED_PRECONDITION, f"process {command.pid} was started without stdin, or it is closed"
                    )
            case _:
                raise ConnectError(Code.INVALID_ARGUMENT, "no input")
        try:
            await command.write(data, self._limits.stall_seconds)
        except TimeoutError as error:
            raise ConnectError(Code.RESOURCE_EXHAUSTED, f"process {command.pid} does not read its input") from error
        except OSError as error:
            raise ConnectError(Code.FAILED_PRECONDITION, f"process {command.pid} has closed its input") from error


async def _events(
    command: Command, subscriber: Subscriber, pause: float, deadline: float
) -> AsyncIterator[ProcessEvent]:
    """Its output, its end, and a keepalive where there is neither. Raises ConnectError at the deadline."""
    while True:
        left = deadline - time.monotonic()
        try:
            await asyncio.wait_for(subscriber.arrived.wait(), max(0, min(pause, left)))
        except TimeoutError:
            if deadline <= time.monotonic():
                raise ConnectError(Code.DEADLINE_EXCEEDED, "the command reached its timeout") from None
            yield ProcessEvent(event=Oneof("keepalive", ProcessEvent.KeepAlive()))
            continue
        for stream, data in command.take(subscriber):
            yield ProcessEvent(event=Oneof("data", _data(stream, data)))
        if subscriber.ended is not None:
            if command.timed_out:
                raise ConnectError(Code.DEADLINE_EXCEEDED, "the command reached its timeout and was killed")
            yield ProcessEvent(event=Oneof("end", _end(subscriber.ended)))
            return


def _data(stream: Stream, data: bytes) -> ProcessEvent.DataEvent:
    match stream:
        case "stdout":
            return ProcessEvent.DataEvent(output=Oneof("stdout", data))
        case "stderr":
            return ProcessEvent.DataEvent(output=Oneof("stderr", data))
        case "pty":
            return ProcessEvent.DataEvent(output=Oneof("pty", data))


def _end(ended: Ended) -> ProcessEvent.EndEvent:
    event = ProcessEvent.EndEvent(exit_code=ended.exit_code, exited=ended.exited, status=ended.status)
    if ended.error is not None:
        event.error = ended.error
    return event


def _started(command: Command) -> ProcessEvent:
    return ProcessEvent(event=Oneof("start", ProcessEvent.StartEvent(pid=command.pid)))


def _size(pty: PTY) -> tuple[int, int]:
    if pty.size is None or not pty.size.rows or not pty.size.cols:
        return _DEFAULT_SIZE
    return pty.size.rows, pty.size.cols


def _info(command: Command) -> ProcessInfo:
    config = command.config
    asked = ProcessConfig(cmd=config.arguments[0], args=list(config.arguments[1:]), envs=dict(config.envs))
    if config.cwd is not None:
        asked.cwd = config.cwd
    info = ProcessInfo(config=asked, pid=command.pid)
    if config.tag is not None:
        info.tag = config.tag
    return info
