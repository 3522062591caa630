"""multiprocessing's `spawn`, done by forking: what an engine starts is forked from its own idle fork server.

vLLM insists on `spawn` for its engine core and worker, because a fork of a process with threads, or of one whose OpenMP
pool has run, may hang. So they are not forked from the API server: beside it stands a fork server (the standard
library's), itself a fork of the nursery, with one thread and everything imported. A child gets the variables its parent
had when it was started, as with a real spawn, and its OpenMP threads are set up by them before the first one runs.
"""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Mapping
from multiprocessing import context, forkserver, popen_forkserver, resource_tracker, spawn, util
from multiprocessing.context import ForkServerContext, ForkServerProcess, set_spawning_popen
from multiprocessing.reduction import dump
from pathlib import Path
from typing import Any

# What libgomp reads when it is loaded, which is too early here.
THREADS = "OMP_NUM_THREADS"
BOUND_TO = "GOMP_CPU_AFFINITY"
GRAIN = 32768  # at least so many elements for each thread, or torch does not use it (at::internal::GRAIN_SIZE)


class _Surroundings:
    """Pickled before the process object, so that the child has its variables before anything of it is unpickled."""

    def __init__(self, data: dict[str, Any]) -> None:
        self._data = data

    def __reduce__(self) -> tuple[Any, ...]:
        return take_on, (dict(os.environ), self._data)


def take_on(environment: Mapping[str, str], data: dict[str, Any]) -> dict[str, Any]:
    """In the child: its variables and threads. Returns multiprocessing's own preparation data."""
    os.environ.clear()
    os.environ.update(environment)
    set_threads(environment)
    return data


def set_threads(environment: Mapping[str, str]) -> None:
    """Size and places of this process's OpenMP pool, as libgomp would take them from the variables at its start."""
    import torch

    if environment.get(THREADS, "").isdecimal():
        torch.set_num_threads(int(environment[THREADS]))  # also makes an idle pool that torch keeps for other uses
    if places := [int(cpu) for cpu in environment.get(BOUND_TO, "").split()]:
        others = own_threads()
        torch.zeros(GRAIN * len(places)).add_(1)  # starts the OpenMP pool: its threads in the order of their numbers
        pool = [others[0], *(thread for thread in own_threads() if thread not in others)]
        for thread, cpu in zip(pool, places, strict=False):
            os.sched_setaffinity(thread, {cpu})


def own_threads() -> list[int]:
    """Ids of this process's threads, the oldest first."""
    return sorted(int(task.name) for task in Path("/proc/self/task").iterdir())


class _Popen(popen_forkserver.Popen):
    method = "spawn"
    _fds: list[int]

    def _launch(self, process_obj: Any) -> None:
        """The standard library's, but for the surroundings."""
        buffer = io.BytesIO()
        set_spawning_popen(self)
        try:
            dump(_Surroundings(spawn.get_preparation_data(process_obj._name)), buffer)
            dump(process_obj, buffer)
        finally:
            set_spawning_popen(None)
        self.sentinel, writer = forkserver.connect_to_new_process(self._fds)
        self.finalizer = util.Finalize(self, _close, (os.dup(writer), self.sentinel))
        with os.fdopen(writer, "wb") as file:
            file.write(buffer.getbuffer())
        self.pid = forkserver.read_signed(self.sentinel)


def _close(*descriptors: int) -> None:
    for descriptor in descriptors:
        os.close(descriptor)


class _Process(ForkServerProcess):
    @staticmethod
    def _Popen(process_obj: Any) -> _Popen:
        return _Popen(process_obj)


class _Context(ForkServerContext):
    _name = "spawn"
    Process = _Process


def install(address: str, alive: int | None) -> None:
    """From here on `spawn` asks the fork server at `address`, in this process and in those forked by it.

    alive: the end of a pipe that tells the fork server that somebody still needs it; None in the fork server itself.
    """
    server: Any = forkserver._forkserver
    server._forkserver_address = address
    server._forkserver_alive_fd = alive
    server.ensure_running = resource_tracker.ensure_running
    contexts: Any = context
    contexts._concrete_contexts["spawn"] = _Context()


def serve(listener: socket.socket, alive: int) -> None:
    """Forks children until nobody holds the other end of `alive` any more. Raises SystemExit then."""
    install(listener.getsockname(), None)
    forkserver.main(listener.detach(), alive, [])
