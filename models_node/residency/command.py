"""How an engine is called: its arguments and its variables, put together from profile, catalogue and entry."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from models_node.catalogue import Catalogue, ModelEntry, weights_path
from models_node.profiles import Profile, preloaded
from stack.processes import SERVICE, STACK_ID

# Not `-m`: vLLM's own child processes would import the whole API server again as their main module.
SERVE = "from vllm.entrypoints.launchers.api_server.entry import main; main()"
# Last, so that nothing turns it off: requests carry the priority that admission gave them.
ALWAYS = ("--scheduling-policy", "priority")


def engine_arguments(entry: ModelEntry, catalogue: Catalogue, profile: Profile, home: Path, socket: Path) -> list[str]:
    """The arguments of the entry's vLLM server, on a unix socket, under the entry's id."""
    return [
        "--model", str(weights_path(entry, home)),
        "--served-model-name", entry.id,
        "--uds", str(socket),
        "--disable-uvicorn-access-log",
        *profile.arguments,
        *catalogue.engine.arguments,
        *entry.engine_arguments,
        *ALWAYS,
    ]  # fmt: skip


def plain_command(arguments: list[str]) -> list[str]:
    """The command line of a plain start."""
    return [sys.executable, "-c", SERVE, *arguments]


def common_environment(catalogue: Catalogue, profile: Profile, home: Path) -> dict[str, str]:
    """The variables that are the same for every engine: offline, no telemetry, caches under $home, none of the stack's
    settings and secrets.
    """
    keys = {model.remote_key_env for model in catalogue.models}
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name in (STACK_ID, SERVICE) or not (name.startswith(("CAPIBARA6_", "PYTHONPATH", "VLLM_")) or name in keys)
    }
    cache = home / "cache"
    library = preloaded(profile.preload)
    return {
        **inherited,
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HOME": str(cache / "huggingface"),
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        # vLLM renames its processes, and setproctitle would write the title over the environment they are found by.
        "SPT_NOENV": "1",
        "VLLM_CACHE_ROOT": str(cache / "vllm"),
        "VLLM_CONFIG_ROOT": str(cache / "vllm-config"),
        "TORCHINDUCTOR_CACHE_DIR": str(cache / "torchinductor"),
        **({"LD_PRELOAD": str(library)} if library else {}),
        **profile.environment,
        **catalogue.engine.environment,
    }


def engine_environment(entry: ModelEntry, common: Mapping[str, str], scratch: Path) -> dict[str, str]:
    """The variables of one engine. common: what all have; scratch: its folder, for sockets and temporary files."""
    return {
        **common,
        "VLLM_RPC_BASE_PATH": str(scratch),
        "TMPDIR": str(scratch),  # what killed processes leave goes with the folder
        **entry.environment,
    }
