"""`python -m flows.worker`: takes the batches that wait in Prefect, and what is due by the clock, and runs each in a
process of its own.

There is one worker: at its start it takes what is under way of the deployments for left over, and goes on with it. The
port it listens on says that they are there, and keeps a second worker of this machine from starting.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys

from flows.deployments import deployments
from flows.prefect_settings import client_environment
from stack.errors import StackError
from stack.secrets import load_secrets
from stack.settings import Settings, get_settings
from stack.topology import load_topology
from wire.log import configure_logging

log = logging.getLogger("flows.worker")

SERVICE = "flow-worker"
POLL_SECONDS = 3  # between looks for waiting batches; each costs Prefect a query


def main() -> int:
    try:
        settings = get_settings()
        configure_logging(SERVICE, settings.log_level)
        load_topology(settings).check_placement(SERVICE)
        deployments(settings)  # a time zone that is none is told now
        environment = client_environment(settings, load_secrets(settings))
    except StackError as error:
        sys.stderr.write(f"{SERVICE}: {error} ({error.mend})\n" if error.mend else f"{SERVICE}: {error}\n")
        return error.exit_code
    # Its processes inherit all of this. Unlike a chat turn's, their calls are worth repeating.
    os.environ.update(environment | {"PREFECT_RUNNER_POLL_FREQUENCY": str(POLL_SECONDS)})
    # Prefect's runner keeps a folder of a fixed name in the temporary one: another user's would be in its way.
    scratch = settings.home / "cache" / "flow-worker"
    scratch.mkdir(parents=True, exist_ok=True)
    os.environ["TMPDIR"] = str(scratch)
    del os.environ["PREFECT_CLIENT_MAX_RETRIES"]
    asyncio.run(_serve(settings))
    return 0


async def _serve(settings: Settings) -> None:
    from flows.deploying import BatchRunner, deploy, keep_taking_over, skip_late, take_over_all, until_prefect_answers

    table = deployments(settings)
    runner = BatchRunner(name=SERVICE, pause_on_shutdown=False, limit=sum(one.at_once for one in table))
    runner.stop_seconds = settings.graceful_stop_seconds
    deployed = await deploy(runner, table)
    topology = load_topology(settings)

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    listening = await asyncio.start_server(hang_up, topology.bind_host(SERVICE), topology.port(SERVICE))
    # With the port in hand: another worker's batches would not be left over.
    await until_prefect_answers("what an earlier worker left", lambda: take_over_all(deployed))
    late = settings.schedule_late_seconds
    await until_prefect_answers("what is late", lambda: skip_late(table, deployed, late))
    log.info("waiting for batches", extra={"at_once": {one.name: one.at_once for one in table}})
    looking = asyncio.create_task(keep_taking_over(runner, deployed))
    try:
        async with listening:
            await runner.start()
    finally:
        looking.cancel()


if __name__ == "__main__":
    sys.exit(main())
