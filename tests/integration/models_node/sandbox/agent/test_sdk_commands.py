"""`commands` and `pty` of the real SDK against the agent."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from e2b import AuthenticationException, CommandExitException, InvalidArgumentException, PtySize, TimeoutException
from e2b_code_interpreter import AsyncSandbox, Sandbox
from running_agent import wait_for


def test_a_command_has_output_and_a_status(sandbox: Sandbox) -> None:
    result = sandbox.commands.run("echo out; echo err >&2")
    assert (result.stdout, result.stderr, result.exit_code) == ("out\n", "err\n", 0)
    with pytest.raises(CommandExitException) as failed:
        sandbox.commands.run("echo before; exit 7")
    assert (failed.value.exit_code, failed.value.stdout) == (7, "before\n")


def test_environment_and_folder_are_set(sandbox: Sandbox) -> None:
    sandbox.files.make_dir("there")
    result = sandbox.commands.run("echo $WORD; basename $PWD", envs={"WORD": "hola"}, cwd="there")
    assert result.stdout == "hola\nthere\n"
    with pytest.raises(InvalidArgumentException, match="does not exist"):
        sandbox.commands.run("true", cwd="/nowhere")
    with pytest.raises(AuthenticationException, match="'root' is not available"):
        sandbox.commands.run("true", user="root")


def test_a_timeout_kills_the_command_and_what_it_started(sandbox: Sandbox) -> None:
    mark = uuid.uuid4().hex
    with pytest.raises(TimeoutException):
        sandbox.commands.run(f"bash -c 'sleep 60; echo {mark}'", timeout=1)
    wait_for(lambda: mark not in "".join(_command_lines()), 10)


def _command_lines() -> list[str]:
    lines = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(path.read_text(errors="replace"))
    return lines


def test_a_background_command_is_listed_fed_and_killed(sandbox: Sandbox) -> None:
    handle = sandbox.commands.run("cat", background=True, stdin=True)
    assert handle.pid in [process.pid for process in sandbox.commands.list()]
    sandbox.commands.send_stdin(handle.pid, "line\n")
    sandbox.commands.close_stdin(handle.pid)
    assert handle.wait().stdout == "line\n"
    sleeping = sandbox.commands.run("sleep 60", background=True)
    assert sleeping.kill()
    assert not sandbox.commands.kill(sleeping.pid)
    assert sleeping.pid not in [process.pid for process in sandbox.commands.list()]


def test_a_command_goes_on_when_its_client_leaves(sandbox: Sandbox) -> None:
    handle = sandbox.commands.run("read line; echo got $line", background=True, stdin=True)
    handle.disconnect()
    again = sandbox.commands.connect(handle.pid)
    sandbox.commands.send_stdin(handle.pid, "it\n")
    assert again.wait().stdout == "got it\n"


def test_a_command_ends_though_its_children_hold_its_output(sandbox: Sandbox) -> None:
    result = sandbox.commands.run("sleep 60 & echo started; echo $!", timeout=20)
    assert result.stdout.startswith("started\n")
    sandbox.commands.run(f"kill {result.stdout.split()[1]}")


def test_bytes_that_are_no_text_do_no_harm(sandbox: Sandbox) -> None:
    assert "\ufffd" in sandbox.commands.run("head -c 1000 /dev/urandom").stdout


def test_input_is_streamed_in_order(sandbox: Sandbox) -> None:
    handle = sandbox.commands.run("cat", background=True, stdin=True)
    sandbox.commands.stream_input(handle.pid, (f"{index}\n" for index in range(50)))
    sandbox.commands.close_stdin(handle.pid)
    assert handle.wait().stdout.split() == [str(index) for index in range(50)]


async def test_a_terminal_has_a_size_and_takes_keys(async_sandbox: AsyncSandbox) -> None:
    seen = bytearray()
    pty = async_sandbox.pty
    terminal = await pty.create(PtySize(rows=30, cols=100), on_data=seen.extend)
    await pty.send_stdin(terminal.pid, b"stty size\n")
    await until(lambda: b"30 100" in seen)
    await pty.resize(terminal.pid, PtySize(rows=40, cols=120))
    await pty.send_stdin(terminal.pid, b"stty size; exit\n")
    await until(lambda: b"40 120" in seen)
    assert (await terminal.wait()).exit_code == 0


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.02)


async def test_the_asynchronous_client_runs_commands_side_by_side(async_sandbox: AsyncSandbox) -> None:
    results = await asyncio.gather(*(async_sandbox.commands.run(f"echo {index}") for index in range(8)))
    assert [result.stdout for result in results] == [f"{index}\n" for index in range(8)]
