"""The JavaScript and TypeScript kernel: a forked process in front of Deno's own Jupyter kernel.

The only kernel that speaks Jupyter's protocol, to Deno, over ZeroMQ on the sandbox's own loopback. It is started when
the first such context is, and its libraries are imported here, in the fork.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, NoReturn

from .channel import Channel
from .results import result_data
from .shell import shortened

_START_SECONDS = 30.0
_POLL_SECONDS = 1.0


def run(connection: socket.socket, cwd: str, max_bytes: int) -> NoReturn:
    """Runs executions until the agent closes the connection. Called in a fresh fork, with descriptors 0 to 2 set."""
    os.chdir(cwd)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    channel = Channel(connection, max_bytes)
    kernel = DenoKernel(channel)
    channel.send({"event": "ready"})
    count = 0
    while (request := channel.receive()) is not None:
        kernel.execute(str(request.get("code", "")), dict(request.get("envs") or {}))
        count += 1
        channel.send({"event": "count", "execution_count": count})
        channel.send({"event": "done"})
    kernel.end()
    os._exit(0)


class DenoKernel:
    """Deno, and the client that speaks to it."""

    def __init__(self, channel: Channel) -> None:
        """Raises RuntimeError when Deno does not start."""
        from jupyter_client.blocking.client import BlockingKernelClient
        from jupyter_client.connect import write_connection_file

        self._channel = channel
        self._folder = tempfile.mkdtemp(prefix="deno-")
        path = str(Path(self._folder) / "connection.json")
        write_connection_file(path, ip="127.0.0.1")
        env = {**os.environ, "DENO_NO_UPDATE_CHECK": "1", "DENO_DIR": self._folder, "NO_COLOR": "1"}
        self._deno = subprocess.Popen([_program(), "jupyter", "--kernel", "--conn", path], env=env)
        self._client = BlockingKernelClient(connection_file=path)
        self._client.load_connection_file()
        self._client.start_channels()
        self._client.wait_for_ready(timeout=_START_SECONDS)

    def execute(self, code: str, envs: dict[str, str]) -> None:
        """Runs `code`, telling what comes of it as it comes."""
        if envs:
            self._run(
                f"Object.entries({json.dumps(envs)}).forEach(([k, v]) => Deno.env.set(k, v)); void 0;", quiet=True
            )
        self._run(code, quiet=False)

    def end(self) -> None:
        """Ends Deno."""
        self._client.stop_channels()
        self._deno.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, code: str, *, quiet: bool) -> None:
        asked = self._client.execute(code, allow_stdin=False, stop_on_error=False)
        self._hear_until_idle(asked, asked, quiet=quiet)
        # Deno may send a result after it said that it is idle, but not after it has run something else.
        self._hear_until_idle(self._client.execute("void 0", silent=True), asked, quiet=quiet)

    def _hear_until_idle(self, last: str, asked: str, *, quiet: bool) -> None:
        """Tells what comes of request `asked` until request `last` is done."""
        from queue import Empty

        while True:
            try:
                message = self._client.get_iopub_msg(timeout=_POLL_SECONDS)
            except Empty:
                if self._deno.poll() is not None:
                    os._exit(self._deno.returncode & 0xFF or 1)
                continue
            kind, content, parent = message["msg_type"], message["content"], message["parent_header"].get("msg_id")
            if parent == last and kind == "status" and content["execution_state"] == "idle":
                return
            if parent == asked and not quiet:
                self._tell(kind, content)

    def _tell(self, kind: str, content: dict[str, Any]) -> None:
        match kind:
            case "stream":
                self._channel.send({"event": content["name"], "text": content["text"]})
            case "execute_result" | "display_data":
                bundle = content["data"]
                if bundle:
                    is_main = kind == "execute_result"
                    self._channel.send_and_wait(
                        {"event": "result", "is_main_result": is_main, "data": result_data(bundle)}
                    )
            case "error":
                self._channel.send(
                    {
                        "event": "error",
                        "name": content["ename"],
                        "value": shortened(content["evalue"]),
                        "traceback": shortened("\n".join(content["traceback"])),
                    }
                )
            case _:
                pass


def _program() -> str:
    """Where Deno is: beside this Python, where its wheel put it, or on the path."""
    beside = Path(sys.executable).parent / "deno"
    found = str(beside) if beside.exists() else shutil.which("deno")
    if found is None:
        raise RuntimeError("Deno is not installed: JavaScript and TypeScript are not available here")
    return found
