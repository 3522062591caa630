"""Ends and starts of the whole stack: nothing is half-started, nothing is left, and no network is needed.

Only the first test needs it running, so it is not started again for the others."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading

import httpx
import psutil
import pytest

from tests.e2e.stack import MODEL_SECONDS, Stack, eventually

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can unplug a network")


def test_down_leaves_nothing_also_after_the_supervisor_was_killed(stack: Stack) -> None:
    httpx.post(f"{stack.url('model-server')}/models/phi4_fast/unload", timeout=60).raise_for_status()
    asking = threading.Thread(target=lambda: stack.run("chat", "Hello", seconds=MODEL_SECONDS))
    asking.start()

    def loading() -> bool:
        return "loading" in [engine["state"] for engine in stack.get("model-server", "/stats")["engines"]]

    eventually(loading, 30, "an engine is being loaded")
    supervisor = int((stack.home / "run" / "supervisord.pid").read_text())
    psutil.Process(supervisor).kill()
    states = stack.status()
    assert states["chat-api"]["pid"], "services that outlived their supervisor are still seen"
    stack.ok("down")
    stack.leaves_nothing()
    asking.join(60)


def test_a_taken_port_is_named_and_nothing_is_half_started(installed: Stack) -> None:
    installed.ok("down")
    with socket.create_server(("127.0.0.1", 8082 + installed.port_offset)):
        done = installed.run("up", "--detach")
    assert done.returncode == 5
    assert f"model-server needs port {8082 + installed.port_offset}, held by process" in done.stderr
    assert "CAPIBARA6_PORT_OFFSET" in done.stderr
    installed.leaves_nothing()


def test_ctrl_c_during_up_stops_what_was_started(installed: Stack) -> None:
    installed.ok("down")
    process = installed.popen("up", stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert process.stderr is not None
    for line in process.stderr:
        if "ready on port" in line:
            break
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopping what was started" in told
    installed.leaves_nothing()


UNPLUGGED = {
    "every service is ready": "./capibara6 status",
    "a model is loaded and answers": './capibara6 chat --max-tokens 8 "Hola"',
}


@as_root
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, id=told, marks=[pytest.mark.full] if "chat" in command else [])
        for told, command in UNPLUGGED.items()
    ],
)
def test_after_installation_everything_starts_with_the_network_unplugged(installed: Stack, command: str) -> None:
    installed.ok("down")
    loopback_only = ("unshare", "--net", "python3", str(installed.root / "tests" / "e2e" / "loopback_only.py"))
    unplugged = Stack(installed.root, installed.port_offset, loopback_only)
    script = f"./capibara6 up --detach && {command}; status=$?; ./capibara6 down; exit $status"
    done = subprocess.run(
        [*unplugged.prefix, "sh", "-c", script], cwd=unplugged.root, env=unplugged.environment(), capture_output=True,
        text=True, timeout=MODEL_SECONDS + 120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert ("model phi4_fast" in done.stderr) if "chat" in command else ("chat-api" in done.stdout)
