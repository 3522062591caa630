"""`python -m flows.worker`: takes the batches that wait in Prefect, and runs each in a process of its own.

There is one worker: at its start it takes what is under way of the deployments for left over. The port it listens on
says that they are there, and keeps a second worker of this machine from starting.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from typing import Any

from flows.prefect_settings import client_environment
from stack.errors import StackError
from stack.secrets import load_secrets
from stack.settings import Settings, get_settings
from stack.topology import load_topology
from wire.log import configure_logging

log = logging.getLogger("flows.worker")

SERVICE = "flow-worker"
POLL_SECONDS = 3  # between looks for waiting batches; each costs Prefect a query
RETRY_SECONDS = 2.0
PAGE = 200  # flow runs, the most that Prefect tells at once
OPEN_STATES = ["PENDING", "RUNNING", "CANCELLING"]


def main() -> int:
    try:
        settings = get_settings()
        configure_logging(SERVICE, settings.log_level)
        load_topology(settings).check_placement(SERVICE)
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
    from prefect.runner import Runner

    from flows.code_batch import code_batch
    from flows.speech_batch import speech_batch

    offered = [
        (code_batch, settings.code_batch_at_once, "Pieces of code, one after the other, each in a sandbox of its own."),
        (speech_batch, settings.speech_batch_at_once, "A document, spoken part by part into one file."),
    ]
    runner = Runner(name=SERVICE, pause_on_shutdown=False, limit=sum(at_once for _, at_once, _ in offered))
    deployed = [await _deployed(runner, *one) for one in offered]
    topology = load_topology(settings)

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    listening = await asyncio.start_server(hang_up, topology.bind_host(SERVICE), topology.port(SERVICE))
    for deployment_id in deployed:  # with the port in hand: another worker's batches would not be left over
        await _crash_left_over(deployment_id)
    log.info("waiting for batches", extra={"at_once": {flow.name: at_once for flow, at_once, _ in offered}})
    async with listening:
        await runner.start()


async def _deployed(runner: Any, flow: Any, at_once: int, description: str) -> Any:
    """Writes the deployment, as soon as Prefect answers."""
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
    from prefect.types.entrypoint import EntrypointType

    limit = ConcurrencyLimitConfig(limit=at_once, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)
    told = False
    while True:
        try:
            return await runner.aadd_flow(
                flow,
                name=flow.name,
                concurrency_limit=limit,
                description=description,
                tags=["capibara6"],
                entrypoint_type=EntrypointType.MODULE_PATH,
            )
        except Exception as error:
            log.log(
                logging.DEBUG if told else logging.WARNING, "Prefect does not answer", extra={"reason": repr(error)}
            )
            told = True
            await asyncio.sleep(RETRY_SECONDS)


async def _crash_left_over(deployment_id: Any) -> None:
    """Batches that an earlier worker left under way ended with it (`stack.exec_service` ends what it left)."""
    from prefect.client.orchestration import get_client
    from prefect.states import Crashed

    wanted = {"deployment_id": {"any_": [str(deployment_id)]}, "state": {"type": {"any_": OPEN_STATES}}}
    asked = {"flow_runs": wanted, "limit": PAGE}
    while True:
        try:
            async with get_client() as client:
                while left := (await client.request("POST", "/flow_runs/filter", json=asked)).json():
                    for flow_run in left:
                        state: Any = Crashed(message="The worker ended before this batch did.")
                        await client.set_flow_run_state(flow_run["id"], state, force=True)
            return
        except Exception as error:
            log.warning("Prefect does not answer", extra={"reason": repr(error)})
            await asyncio.sleep(RETRY_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
