"""`python -m n8n.runner`: becomes the process that runs the code of n8n's Code nodes, apart from n8n and its keys.

n8n's makers start it by a launcher of their own, which is in no package; what that does is this: it asks n8n's broker
for a token that is good for one registration, and starts the runner with it.
"""

from __future__ import annotations

import os
import sys
import time

import httpx

from n8n.environment import RUNNER, broker_port, kept, runner_variables, runtime
from n8n.errors import NotReached
from n8n.node import NODE
from stack.errors import StackError
from stack.secrets import load_secrets
from stack.settings import get_settings
from stack.topology import load_topology

WAIT_SECONDS = 60.0
FLAGS = ("--disallow-code-generation-from-strings", "--disable-proto=delete")


def main() -> int:  # noqa: RET503 - what execve leaves never returns
    """Returns only when it can't be started: the exit status."""
    try:
        settings = get_settings()
        topology = load_topology(settings)
        topology.check_placement(RUNNER)
        token = load_secrets(settings).n8n_runner_token.get_secret_value()
        grant = granted(f"http://127.0.0.1:{broker_port(topology)}", token, WAIT_SECONDS)
    except StackError as error:
        sys.stderr.write(f"{RUNNER}: {error} ({error.mend})\n" if error.mend else f"{RUNNER}: {error}\n")
        return error.exit_code
    except NotReached as error:
        sys.stderr.write(f"{RUNNER}: {error}\n")
        return 1
    program = str(runtime(settings) / "node_modules" / "@n8n" / "task-runner" / "dist" / "start.js")
    variables = kept(os.environ) | runner_variables(settings, topology, grant)
    os.execve(NODE, [str(NODE), *FLAGS, program], variables)  # noqa: S606 - no shell is the point


def granted(broker: str, token: str, seconds: float) -> str:
    """A token for one registration. Raises NotReached when the broker gives none in time."""
    deadline, reason = time.monotonic() + seconds, ""
    while time.monotonic() < deadline:
        try:
            reply = httpx.post(f"{broker}/runners/auth", json={"token": token}, timeout=5, trust_env=False)
            if reply.status_code == 200:
                return str(reply.json()["data"]["token"])
            reason = f"it answered {reply.status_code}"
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            reason = str(error) or type(error).__name__
        time.sleep(0.5)
    raise NotReached(f"n8n's broker at {broker} gave no token within {seconds:.0f} s: {reason}")


if __name__ == "__main__":
    sys.exit(main())
