"""`python -m models_node.sandbox`: the service on 8086. Becomes the launcher, which starts everything else."""

from __future__ import annotations

import asyncio
import json
import os
import secrets as random
import shutil
import sys
from pathlib import Path

from models_node.sandbox.launcher.cgroups import Limits
from models_node.sandbox.launcher.sandboxes import Sizes
from models_node.sandbox.launcher.service import Plan, Service
from models_node.sandbox.launcher.view import Places, bwrap_of, write_etc
from stack.errors import StackError
from stack.install.environments import environment_path
from stack.paths import run_directory
from stack.processes import stack_id
from stack.secrets import Secrets, load_secrets
from stack.settings import REPOSITORY, Settings, get_settings
from stack.topology import load_topology
from wire.log import configure_logging

SERVICE = "sandbox-gateway"
KEYS = ("sandbox_key", "services_key", "operator_key")  # all the gateway may know
NOT_HANDED_ON = ("CAPIBARA6_DATABASE_URL", "CAPIBARA6_HOME", "CAPIBARA6_TOPOLOGY")
TEMPLATES_SHARE = 512 * 2**20  # the template itself and pages that sandboxes share with it lie outside their cgroups


def main() -> int:
    try:
        settings = get_settings()
        configure_logging(SERVICE, settings.log_level)
        load_topology(settings).check_placement(SERVICE)
        plan = plan_of(settings, load_secrets(settings))
    except StackError as error:
        sys.stderr.write(f"{SERVICE}: {error}{f' ({error.mend})' if error.mend else ''}\n")
        return error.exit_code
    return asyncio.run(Service(plan).run())


def plan_of(settings: Settings, secrets: Secrets) -> Plan:
    """What the launcher is to do, from the settings. Makes the folders it needs."""
    folder = run_directory(settings) / "sandbox"
    shutil.rmtree(folder, ignore_errors=True)  # sockets of an earlier launcher
    write_etc(folder / "etc")
    run = folder / "gateway"
    run.mkdir(mode=0o700)
    _write_secrets(run / "secrets.json", secrets)
    if os.geteuid() == 0:
        for path in (run, run / "secrets.json"):
            os.chown(path, settings.sandbox_uids, settings.sandbox_uids)
    environment = environment_path(settings, "sandbox")
    return Plan(
        places=Places(REPOSITORY, environment, folder / "etc", bwrap_of(environment)),
        run=run,
        cgroup=f"capibara6-{stack_id(settings)}",
        users=settings.sandbox_uids,
        most=settings.sandbox_max_count,
        sizes=Sizes(
            Limits(settings.sandbox_memory_limit_bytes, settings.sandbox_max_processes, settings.sandbox_cpus),
            settings.sandbox_home_bytes,
            settings.sandbox_tmp_bytes,
            settings.sandbox_max_inodes,
        ),
        together=Limits(
            settings.sandbox_total_memory_bytes,
            settings.sandbox_max_processes * settings.sandbox_max_count,
            max(settings.sandbox_cpus, os.cpu_count() or 1),
        ),
        agent_limits={
            "output_bytes": settings.sandbox_output_bytes,
            "execution_seconds": settings.sandbox_execution_seconds,
            "upload_bytes": settings.sandbox_upload_bytes,
            "stall_seconds": settings.sandbox_stall_seconds,
        },
        accepted=frozenset(word.strip() for word in settings.sandbox_accept.split(",") if word.strip()),
        gateway_variables=_variables(),
        topology=settings.topology,
        stop_seconds=settings.graceful_stop_seconds,
    )


def _variables() -> dict[str, str]:
    """The gateway's settings. Its home is its own folder; keys reach it in a file there, never by its environment."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name.startswith("CAPIBARA6_") and name not in NOT_HANDED_ON and not name.startswith("CAPIBARA6_SECRET_")
    }
    # Where spans go, without the headers: a collector's key is one of them.
    kept |= {name: value for name, value in os.environ.items() if name.startswith("OTEL_") and "HEADERS" not in name}
    given = {"CAPIBARA6_TOPOLOGY": "/opt/capibara6/code/topology.given.toml"} if get_settings().topology else {}
    return kept | given


def _write_secrets(path: Path, secrets: Secrets) -> None:
    """The keys the gateway checks and uses; random ones that open nothing in the place of all others."""
    shown = {
        name: getattr(secrets, name).get_secret_value() if name in KEYS else random.token_urlsafe(32)
        for name in Secrets.model_fields
    }
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
        json.dump(shown, file)


if __name__ == "__main__":
    sys.exit(main())
