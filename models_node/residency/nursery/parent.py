"""The nursery's process: imports vLLM in one thread, then forks one engine for each request on its socket.

A request is one packet, JSON beside two descriptors (the engine's log, and a pipe that gets its exit status); the reply
is one packet, JSON beside a pidfd of the engine's warden. The socket's end is the nursery's end; engines stay.

    python -I -c BOOT KEEPER_PID SOCKET_FD MARK
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import gc
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, NoReturn

from models_node.residency import warden
from models_node.residency.nursery import spawning

# What the three processes of an engine import, found by comparing sys.modules with that of a plain engine.
MODULES = (
    "vllm.entrypoints.launchers.api_server.entry",
    "vllm.entrypoints.launchers.cli_args",
    "vllm.v1.engine.async_llm",
    "vllm.v1.engine.core",
    "vllm.v1.executor.multiproc_executor",
    "vllm.v1.worker.cpu_worker",
    "vllm.v1.worker.cpu_model_runner",
    "vllm.v1.core.sched.scheduler",
    "vllm.v1.metrics.loggers",
    "vllm.v1.pool.flash_maxsim",
    "vllm.distributed.elastic_ep.elastic_execute",
    "vllm.model_executor.models.llama",
    "vllm.model_executor.layers.quantization.compressed_tensors.compressed_tensors",
    "vllm.model_executor.layers.quantization.online.base",
    "vllm.utils.cpu_triton_utils",
    "vllm.triton_utils.dispatcher",
    "vllm.transformers_utils.chat_templates",
    "vllm.entrypoints.anthropic.api_router",
    "vllm.entrypoints.cohere.api_router",
    "vllm.entrypoints.generate.api_router",
    "vllm.entrypoints.generate.generative_scoring.api_router",
    "vllm.entrypoints.generate.structured_decisions.api_router",
    "vllm.entrypoints.openai.chat_completion.api_router",
    "vllm.entrypoints.openai.completion.api_router",
    "vllm.entrypoints.openai.responses.api_router",
    "vllm.entrypoints.scale_out.derender.api_router",
    "vllm.entrypoints.scale_out.render.api_router",
    "vllm.entrypoints.scale_out.token_in_token_out.api_router",
    "vllm.entrypoints.scale_out.factories",
    "vllm.entrypoints.serve.elastic_ep.api_router",
    "vllm.entrypoints.serve.instrumentator.metrics",
    "vllm.entrypoints.serve.instrumentator.offline_docs",
    "vllm.entrypoints.serve.lora.api_router",
    "vllm.entrypoints.serve.profile.api_router",
    "vllm.entrypoints.serve.tokenize.api_router",
    "vllm.entrypoints.serve.utils.fingerprint",
    "model_hosting_container_standards.sagemaker",
    "setproctitle",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
)
PACKET_BYTES = 256 * 1024
ENV_START, ENV_END = 47, 48  # fields of /proc/self/stat behind the name, from proc(5)'s 50 and 51


def main(arguments: list[str]) -> int:
    keeper, descriptor, mark = int(arguments[0]), int(arguments[1]), arguments[2]
    ctypes.CDLL(None).prctl(warden.PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != keeper:
        return 1
    link = socket.socket(fileno=descriptor)
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))  # who works now goes first; undone in each engine
    started = time.monotonic()
    call("nursery")  # before the variables change: the place for the title is found beside them
    for name in MODULES:
        import_module(name)
    threads = len(spawning.own_threads())
    gc.collect()
    gc.freeze()  # no collection in an engine touches, and so copies, what is shared
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    told = {"seconds": time.monotonic() - started, "threads": threads, "pid": os.getpid()}
    sys.stderr.write(f"nursery: {told}\n")
    socket.send_fds(link, [json.dumps(told).encode()], [os.pidfd_open(os.getpid())])
    if threads != 1:
        return 1  # a fork would miss the others, and their locks
    while True:
        packet, descriptors, _, _ = socket.recv_fds(link, PACKET_BYTES, 2)
        if not packet:
            return 0
        answer(link, json.loads(packet), descriptors, keeper, mark)


def answer(link: socket.socket, request: dict[str, Any], descriptors: list[int], keeper: int, mark: str) -> None:
    nursery = os.getpid()
    try:
        # What is sent to the warden from its first instant on waits until it listens.
        signal.pthread_sigmask(signal.SIG_BLOCK, warden.WATCHED)
        try:
            pid = os.fork()
            if pid == 0:
                link.close()
                in_a_process_of_its_own(
                    lambda: be_warden(request, descriptors, {nursery, keeper}, mark), blocked=warden.WATCHED
                )
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, warden.WATCHED)
        pidfd = os.pidfd_open(pid)
    except OSError as error:
        link.send(json.dumps({"error": str(error)}).encode())
    else:
        socket.send_fds(link, [json.dumps({"pid": pid}).encode()], [pidfd])
        os.close(pidfd)
    finally:
        for descriptor in descriptors:
            os.close(descriptor)


def be_warden(request: dict[str, Any], descriptors: list[int], parents: set[int], mark: str) -> int:
    """The engine's warden, in a session of its own. Returns when nothing of the engine is left."""
    log, status = descriptors
    os.setsid()
    call("engine's warden")
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    os.chdir(request["scratch"])
    for stream in (1, 2):
        os.dup2(log, stream)
    os.close(log)
    environment = request["environment"]
    show_mark(mark, environment[mark])
    preloaded = os.environ.get("LD_PRELOAD")
    os.environ.clear()
    os.environ.update(environment)
    if preloaded:
        os.environ["LD_PRELOAD"] = preloaded  # what is loaded here; vLLM looks for it by this name
    tempfile.tempdir = None

    def start() -> int:
        return start_engine(request, status)

    code = warden.guard(start, parents, request["grace_seconds"], request["scratch"])
    os.write(status, str(code).encode())
    return 0


def start_engine(request: dict[str, Any], status: int) -> int:
    """Forks the fork server and the API server. Returns the latter's pid."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(Path(request["scratch"], "fork")))
    listener.listen()
    alive_reader, alive_writer = os.pipe()
    if os.fork() == 0:
        os.close(alive_writer)
        os.close(status)
        call("engine's fork server")
        in_a_process_of_its_own(lambda: spawning.serve(listener, alive_reader))
    engine = os.fork()
    if engine == 0:
        os.close(alive_reader)
        os.close(status)
        in_a_process_of_its_own(lambda: be_api_server(request["arguments"], listener, alive_writer))
    for descriptor in (alive_reader, alive_writer):
        os.close(descriptor)
    listener.close()
    return engine


def be_api_server(arguments: list[str], listener: socket.socket, alive: int) -> None:
    os.setpgid(0, 0)
    call("engine's API server")
    spawning.install(listener.getsockname(), alive)
    listener.close()
    spawning.set_threads(os.environ)
    sys.argv = ["vllm", *arguments]
    import_module("vllm.entrypoints.launchers.api_server.entry").main()


def call(what: str) -> None:
    """What this process is called in `ps`."""
    import_module("setproctitle").setproctitle(f"capibara6: {what}")


def in_a_process_of_its_own(run: Callable[[], object], *, blocked: Iterable[signal.Signals] = ()) -> NoReturn:
    """Runs in a child that was just forked, and ends it as the interpreter would. Never returns."""
    code = 1
    try:
        for number in warden.WATCHED:
            signal.signal(number, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        code = run() or 0  # type: ignore[assignment]
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(BaseException):
            threading._shutdown()  # type: ignore[attr-defined]
        with contextlib.suppress(BaseException):
            atexit._run_exitfuncs()
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def show_mark(name: str, value: str) -> None:
    """Writes the mark into this process's /proc/PID/environ, over the placeholder of the same length or longer.

    What is forked has no environment of its own there: it shows the nursery's. The block is ordinary memory, copied for
    this process when it is written, and inherited by all it forks. Raises ValueError without a place for it.
    """
    fields = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    start, end = int(fields[ENV_START]), int(fields[ENV_END])
    block = ctypes.string_at(start, end - start)
    begin = block.index(f"{name}=".encode()) + len(name) + 1
    room = block.index(b"\0", begin) - begin
    text = value.encode()
    if len(text) > room:
        raise ValueError(f"{name}={value} is longer than its place of {room} bytes")
    ctypes.memmove(start + begin, text.ljust(room, b"\0"), room)
