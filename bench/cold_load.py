"""Time to first token from cold: a request to 8082 for an unloaded model (forked from the nursery), against a plain
vLLM server start.

    python -m bench.cold_load [--rounds 5] [--model ID] [--json FILE]

Same weights, same arguments, alternately, after one discarded start that fills the page cache. Runs in the models
environment, beside a running model server; it unloads every model there first, and leaves them unloaded. The goal is a
ratio of at most 0.4.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx

from bench._streams import chat_request, client, openai_first_token, operator_headers, report
from models_node.catalogue import Catalogue, ModelEntry, read_catalogue
from models_node.profiles import choose
from models_node.residency.command import common_environment, engine_arguments, engine_environment
from models_node.residency.engine import WARDEN
from models_node.weights import catalogue_path
from stack.settings import Settings, get_settings
from stack.topology import load_topology

MAX_TOKENS = 4
START_LIMIT_SECONDS = 600.0
STOP_SECONDS = 20.0
POLL_SECONDS = 0.05
PLAIN = ["-m", "vllm.entrypoints.openai.api_server"]  # what `vllm serve` runs


def through_the_server(models: httpx.Client, model: str) -> float:
    """Seconds from the request to its first token, the model being cold."""
    unload_all(models)
    return openai_first_token(models, chat_request(model, MAX_TOKENS))


def plain_start(entry: ModelEntry, catalogue: Catalogue, settings: Settings) -> float:
    """Seconds from starting a plain server's process to the first token of a request sent once it is healthy."""
    with tempfile.TemporaryDirectory(prefix="cold-", ignore_cleanup_errors=True) as folder:
        socket = Path(folder) / "http"
        profile = choose(settings)
        arguments = engine_arguments(entry, catalogue, profile, settings.home, socket)
        environment = engine_environment(entry, common_environment(catalogue, profile, settings.home), Path(folder))
        # Under a warden, so that no process and no shared memory of it is left; that costs it some milliseconds.
        warden = [sys.executable, "-I", "-S", str(WARDEN), str(os.getpid()), str(STOP_SECONDS), folder]
        started = time.perf_counter()
        process = subprocess.Popen(
            [*warden, sys.executable, *PLAIN, *arguments], env=environment, cwd=folder, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            with client("http://engine", socket=socket) as engine:
                wait_healthy(engine, process)
                openai_first_token(engine, chat_request(entry.id, MAX_TOKENS))
                return time.perf_counter() - started
        finally:
            stop(process)


def wait_healthy(engine: httpx.Client, process: subprocess.Popen[bytes]) -> None:
    """Raises RuntimeError when the server ends or takes too long."""
    deadline = time.monotonic() + START_LIMIT_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the plain server ended with status {process.returncode}")
        try:
            if engine.get("/health", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(POLL_SECONDS)
    raise RuntimeError(f"the plain server was not healthy after {START_LIMIT_SECONDS:.0f} s")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends the server, by its warden everything below it. Raises TimeoutExpired when something does not end."""
    process.terminate()
    process.wait(2 * STOP_SECONDS)


def unload_all(models: httpx.Client) -> None:
    for model in models.get("/stats").raise_for_status().json()["models_loaded"]:
        models.post(f"/models/{model}/unload").raise_for_status()


def summarise(server: list[float], plain: list[float]) -> dict[str, Any]:
    """Medians in seconds; the ratio is ours to plain, below 1 is faster than plain."""
    ours, theirs = statistics.median(server), statistics.median(plain)
    return {
        "model_server_median_s": round(ours, 2),
        "plain_median_s": round(theirs, 2),
        "ratio": round(ours / theirs, 3),
        "model_server_s": [round(seconds, 2) for seconds in server],
        "plain_s": [round(seconds, 2) for seconds in plain],
    }


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.cold_load")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", help="default: the catalogue's default")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    settings = get_settings()
    catalogue = read_catalogue(catalogue_path(settings))
    entry = catalogue.get(options.model or catalogue.default)
    if entry is None or entry.remote:
        parser.error(f"no local model is called {options.model!r}")
    url = load_topology(settings).url("model-server")
    server: list[float] = []
    plain: list[float] = []
    with client(url, headers=operator_headers(settings, "model-server")) as models:
        unload_all(models)
        plain_start(entry, catalogue, settings)  # fills the page cache
        for number in range(options.rounds):
            server.append(through_the_server(models, entry.id))
            unload_all(models)
            plain.append(plain_start(entry, catalogue, settings))
            sys.stderr.write(f"round {number + 1}: {server[-1]:.1f} s through 8082, {plain[-1]:.1f} s plain\n")
    found = summarise(server, plain)
    report({"bench": "cold_load", "model": entry.id, "rounds": options.rounds, **found}, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
