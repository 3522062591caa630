"""`python -m models_node.sandbox.inside.template`: imports everything once, then forks a sandbox whenever it is told.

It runs in the view that sandboxes share, has no network, no privileges, no secrets, no other open files, and never runs
user code: forks of it do, each confined by `confine`. A fork shares what was imported, so that a sandbox is ready in
some ten milliseconds and takes little memory of its own.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from typing import Any, NoReturn

from models_node.sandbox.inside import messages

CONTROL_FD = 3  # the launcher's end of the channel


def main() -> int:
    launcher = socket.socket(fileno=CONTROL_FD)
    try:
        from models_node.sandbox.inside import confine, seccomp  # noqa: F401 - for the forks
        from models_node.sandbox.inside.agent import AgentLimits
        from models_node.sandbox.inside.preload import preload

        system_calls = seccomp.build()
        preload()
        limits = AgentLimits(**messages.receive(launcher).content)
    except Exception as error:
        messages.send(launcher, {"failed": f"{type(error).__name__}: {error}"})
        return 1
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody here waits for the forks
    gc.collect()
    gc.freeze()  # a collection in a fork would write to every page it shares
    messages.send(launcher, {"ready": True})
    while True:
        try:
            order = messages.receive(launcher)
        except messages.Gone:
            return 0
        listener, control = order.descriptors
        if os.fork() == 0:
            launcher.close()
            _become(listener, control, order.content, limits, system_calls)
        messages.close(order.descriptors)


def _become(listener: int, control: int, told: dict[str, Any], limits: Any, system_calls: bytes) -> NoReturn:
    """Never returns: whatever goes wrong is said to the launcher, and the fork ends."""
    from models_node.sandbox.inside import agent, confine

    channel = socket.socket(fileno=control)
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        os.environ.clear()
        os.environ.update(told["environment"])
        confine.enter(channel, confine.Confinement.of(told), system_calls)
        channel.close()
        _be_silent()  # user code shares a user with pid 1, and must not write the host's log through it
        agent.serve(socket.socket(fileno=listener), limits)
    except confine.Interrupted:
        pass
    except BaseException as error:
        try:
            messages.send(channel, {"failed": f"{type(error).__name__}: {error}"})
        except OSError:
            sys.stderr.write(f"sandbox: {type(error).__name__}: {error}\n")
    finally:
        os._exit(1)


def _be_silent() -> None:
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(nowhere, descriptor)
    os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
