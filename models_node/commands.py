"""What operators ask at the command line: `./capibara6 models plan` and `models fetch`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from models_node.catalogue import Catalogue, parse_size, read_catalogue
from models_node.fetching.fetch import chosen, fetch
from models_node.fetching.hub import Hub
from models_node.planning.needs import needs
from models_node.planning.report import Planned, as_json, as_text
from models_node.planning.room import room
from models_node.profiles import choose
from models_node.weights import catalogue_path
from stack.errors import ConfigurationError, ServiceFailed, StackError
from stack.secrets import load_secrets, secrets_path
from stack.settings import Settings, read_settings
from stack.topology import load_topology
from wire.clients.models import ModelServerClient
from wire.errors import ApiError

MEASURED_WAIT_SECONDS = 10


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="./capibara6 models", description="The models of a catalogue.")
    commands = top.add_subparsers(required=True, metavar="COMMAND")
    planning = commands.add_parser("plan", help="what fits in memory together; starts nothing")
    _catalogue_option(planning)
    planning.add_argument(
        "--memory", metavar="SIZE", help='for all engines, such as "125GiB"; unset: what the node would take'
    )
    planning.add_argument(
        "--measured", action="store_true", help="use what the running model server has measured of its engines"
    )
    planning.add_argument("--json", action="store_true", help="for programs; sizes in bytes")
    planning.set_defaults(run=plan)
    fetching = commands.add_parser(
        "fetch", help="download weights from Hugging Face's hub, where this machine may (HF_TOKEN for gated ones)"
    )
    _catalogue_option(fetching)
    fetching.add_argument(
        "models", nargs="*", metavar="MODEL", help="ids of the catalogue; none: all that have a source"
    )
    fetching.set_defaults(run=fetch_models)
    return top


def plan(given: argparse.Namespace) -> int:
    """Exit status 1 when a model of the catalogue can never be loaded, else 0."""
    settings = read_settings()
    path, catalogue = _catalogue(settings, given.catalogue)
    profile = choose(settings)
    budget = settings.models_memory_budget_bytes or catalogue.limits.memory_budget
    if given.memory is not None:
        budget = _size(given.memory)
    measured, shared = asyncio.run(_measured(settings)) if given.measured else ({}, 0)
    sleeps = profile.name == "cuda"
    sleep_budget = (catalogue.limits.sleep_budget or 0) if sleeps else 0
    planned = Planned(
        source=path.name,
        profile=profile.name,
        needs=needs(catalogue, profile, settings.home),
        room=room(catalogue.models, budget, measured=measured, shared_bytes=shared, sleep_budget_bytes=sleep_budget),
        measured=measured,
        remote=[entry.id for entry in catalogue.models if entry.remote],
        sleep_budget_bytes=sleep_budget if sleeps else None,
    )
    sys.stdout.write(json.dumps(as_json(planned), indent=2) + "\n" if given.json else as_text(planned))
    return 1 if planned.room.never else 0


def fetch_models(given: argparse.Namespace) -> int:
    settings = read_settings()
    _, catalogue = _catalogue(settings, given.catalogue)
    entries = chosen(catalogue, given.models)
    hub = Hub(token=os.environ.get("HF_TOKEN"))
    for entry in entries:
        fetch(entry, settings.home, hub, _say)
    return 0


def main(arguments: Sequence[str]) -> int:
    """Runs one of them. Returns the process's exit status, as `stack.errors` has them."""
    try:
        given = parser().parse_args(arguments)
        return int(given.run(given))
    except StackError as error:
        sys.stderr.write(f"capibara6: {error}\n{f'  mend: {error.mend}' if error.mend else ''}\n".rstrip() + "\n")
        return error.exit_code
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


async def _measured(settings: Settings) -> tuple[dict[str, int], int]:
    """Bytes of each model that the running server has measured, and of what all engines share. Raises
    ServiceFailed."""
    topology = load_topology(settings)
    key = load_secrets(settings).operator_key.get_secret_value() if secrets_path(settings).exists() else None
    client = ModelServerClient(topology.url("model-server"), key=key, read_seconds=MEASURED_WAIT_SECONDS)
    try:
        stats = await client.get_json("/stats")
    except ApiError as error:
        raise ServiceFailed(f"--measured: {error.detail}", "start the stack, or leave --measured out") from None
    finally:
        await client.close()
    measured = {model["model"]: model["memory"]["measured_bytes"] for model in stats["models"]}
    return {model: size for model, size in measured.items() if size}, int(stats["memory"]["shared_bytes"])


def _catalogue(settings: Settings, given: Path | None) -> tuple[Path, Catalogue]:
    path = given.expanduser().absolute() if given else catalogue_path(settings)
    return path, read_catalogue(path)


def _size(text: str) -> int:
    try:
        size = parse_size(int(text) if text.isdecimal() else text)
    except ValueError as error:
        raise ConfigurationError(f"--memory: {error}", "a size such as 125GiB") from None
    if not isinstance(size, int) or size <= 0:
        raise ConfigurationError(f"--memory: {text} is nothing", "a size such as 125GiB")
    return size


def _catalogue_option(command: argparse.ArgumentParser) -> None:
    command.add_argument("--catalogue", type=Path, metavar="FILE", help="unset: the one this node's settings name")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
