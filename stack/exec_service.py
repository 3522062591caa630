"""`python -m stack.exec_service NAME`: what a supervisor starts. Becomes the service after the checks all share.

The same row works under supervisord and under systemd: placement is checked, what an earlier incarnation left behind
(children of a process that was killed) is ended, the start is counted, then this process turns into the service's.
"""

from __future__ import annotations

import os
import sys

from stack.errors import StackError
from stack.install.environments import environment_python
from stack.paths import run_directory
from stack.processes import SERVICE, STACK_ID, end, marked, stack_environment, stack_id
from stack.settings import REPOSITORY, read_settings
from stack.supervision.variables import with_kept_variables
from stack.topology import load_topology

LEFTOVER_GRACE_SECONDS = 5


def main() -> int:
    name = sys.argv[1] if len(sys.argv) == 2 else ""
    try:
        environment = with_kept_variables(os.environ, read_settings())
        os.environ.clear()
        os.environ.update(environment)
        settings = read_settings()
        topology = load_topology(settings)
        topology.check_placement(name)
        service = topology.service(name)
    except StackError as error:
        sys.stderr.write(f"{name}: {error}: {error.mend}\n")
        return error.exit_code
    end(marked(**{STACK_ID: stack_id(settings), SERVICE: name}), LEFTOVER_GRACE_SECONDS)
    starts = run_directory(settings) / f"{name}.starts"
    with starts.open("a", encoding="utf-8") as file:
        file.write(f"{os.getpid()}\n")
    python = environment_python(settings, service.environment)
    environment |= {**stack_environment(settings, name), "PYTHONPATH": str(REPOSITORY)}
    environment |= {"CAPIBARA6_HOME": str(settings.home), "PYTHONUNBUFFERED": "1"}
    os.chdir(REPOSITORY)
    try:
        os.execve(python, [str(python), *service.command], environment)
    except OSError as error:
        sys.stderr.write(f"{name}: environment {service.environment} is not there ({error.strerror}): ./capibara6 up\n")
        return 4


if __name__ == "__main__":
    sys.exit(main())
