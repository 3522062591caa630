"""Which languages there are, under which names, and which kernel runs each."""

import socket
from typing import NoReturn

from .errors import BadRequest
from .kernel import KernelMain

LANGUAGES = ("python", "bash", "javascript", "typescript")
_ALIASES = {"python3": "python", "py": "python", "sh": "bash", "shell": "bash", "js": "javascript", "ts": "typescript"}


def language_name(name: str) -> str:
    """The language's own name. Raises BadRequest for one that is not here."""
    lowered = name.strip().lower()
    language = _ALIASES.get(lowered, lowered)
    if language not in LANGUAGES:
        raise BadRequest(f"language {name!r} is not available here: {', '.join(LANGUAGES)} are")
    return language


def kernel_main(language: str) -> KernelMain:
    """What a fork runs to be a kernel of `language`. Its imports happen in the fork, where they are not here already."""
    return {"python": _python, "bash": _bash, "javascript": _deno, "typescript": _deno}[language]


def _python(connection: socket.socket, cwd: str, max_bytes: int) -> NoReturn:
    from ..kernels.python import run

    run(connection, cwd, max_bytes)


def _bash(connection: socket.socket, cwd: str, max_bytes: int) -> NoReturn:
    from ..kernels.bash import run

    run(connection, cwd, max_bytes)


def _deno(connection: socket.socket, cwd: str, max_bytes: int) -> NoReturn:
    from ..kernels.deno import run

    run(connection, cwd, max_bytes)
