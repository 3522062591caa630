"""The agent: pid 1 of a sandbox. It speaks E2B's envd and code interpreter, and starts and reaps every other process.

`application` tells requests apart by path; `files`, `filesystem` and `processes` are envd, `interpreter` is the code
interpreter over `contexts`, whose kernels run the code. It is one thread and one event loop, because it forks: nothing
here may start a thread. Requests come over one listening socket from the gateway, which has checked and removed the
tokens; events go back as streams, bounded in bytes.
"""

import asyncio
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn


@dataclass(frozen=True, slots=True)
class AgentLimits:
    """What one execution, command or upload may take."""

    output_bytes: int
    execution_seconds: float
    upload_bytes: int
    stall_seconds: float


def serve(listener: socket.socket, limits: AgentLimits, *, home: Path = Path("/home/user")) -> NoReturn:
    """Serves `listener` until the process is killed. The process must be single-threaded, and confined already."""
    from .serving import serve_for_ever

    asyncio.run(serve_for_ever(listener, limits, home))
    raise SystemExit(0)
