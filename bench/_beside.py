"""Further services of the product beside a stack that is measured, as they are started in earnest."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Callable, Iterator, Sequence

from bench._chat_stack import START_SECONDS, ChatStack, wait_until
from bench.proxy import running
from stack.install.environments import environment_python
from stack.settings import REPOSITORY, get_settings
from stack.supervision.probe import probe
from stack.topology import Service

# What an installation prepared, which they read: linked into the measured stack's home.
PREPARED = ("envs", "tts", "n8n/runtime", "n8n/nodes")


@contextlib.contextmanager
def beside(stack: ChatStack, names: Sequence[str]) -> Iterator[None]:
    """These services, ready. Raises RuntimeError when one isn't in time."""
    for part in PREPARED:
        installed, own = get_settings().home / part, stack.settings.home / part
        if installed.exists() and not own.exists():
            own.parent.mkdir(parents=True, exist_ok=True)
            own.symlink_to(installed)
    with contextlib.ExitStack() as processes:
        for name in names:
            service = stack.topology.service(name)
            if service.prepare:
                able = str(environment_python(get_settings(), service.prepare_in or service.environment))
                subprocess.run([able, *service.prepare], cwd=REPOSITORY, env=environment_of(stack), check=True)
            python = str(environment_python(get_settings(), service.environment))
            log = stack.settings.home / f"{name}.log"
            processes.enter_context(running([python, *service.command], log, environment_of(stack)))
            wait_until(_ready(stack, service), f"{name} is ready", START_SECONDS)
        yield


def _ready(stack: ChatStack, service: Service) -> Callable[[], bool]:
    return lambda: probe(stack.topology, service).ready


def environment_of(stack: ChatStack) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("CAPIBARA6_", "PREFECT_"))}
    return kept | {
        "CAPIBARA6_HOME": str(stack.settings.home),
        "CAPIBARA6_PORT_OFFSET": str(stack.settings.port_offset),
        "PYTHONPATH": str(REPOSITORY),
    }
