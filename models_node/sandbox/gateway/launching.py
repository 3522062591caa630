"""What the gateway asks of the privileged launcher. The client of the real one is `launcher_client.py`."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

OUT_OF_MEMORY = "out_of_memory"  # reasons of `on_exit`
EXITED = "exited"


@dataclass(frozen=True, slots=True)
class Usage:
    """memory_bytes: what its cgroup is charged with now. cpu_seconds: since it began. processes: threads included."""

    memory_bytes: int
    cpu_seconds: float
    processes: int


class Launcher(Protocol):
    async def create(self, sandbox_id: str, listener: socket.socket, *, egress: bool) -> socket.socket | None:
        """The sandbox's processes exist and serve `listener`, whose descriptor is passed on; the caller closes its own.

        Returns, with egress, a listening TCP socket that lives in the sandbox's network namespace at 127.0.0.1:3128:
        what is accepted on it are user code's connections to the HTTP proxy. Raises LaunchFailed.
        """
        ...

    async def kill(self, sandbox_id: str) -> None:
        """Returns when no process of it is left. An unknown id: nothing."""
        ...

    async def usage(self, sandbox_id: str) -> Usage | None:
        """None for a sandbox that is not there."""
        ...

    def on_exit(self, callback: Callable[[str, str], None]) -> None:
        """`callback(sandbox_id, reason)` for each sandbox that ends by itself; reason: OUT_OF_MEMORY or EXITED."""
        ...

    @property
    def unavailable(self) -> str | None:
        """Why no sandbox can be had now, with the mend; None when all is well."""
        ...

    @property
    def starting(self) -> bool:
        """Whether `unavailable` will pass by itself, in some seconds."""
        ...
