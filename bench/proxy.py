"""What standing in between costs: our model server and LiteLLM's proxy, each before the same stub engine.

    python -m bench.proxy [--rounds 3] [--seconds 4] [--streams 1 32 256] [--without-litellm] [--json FILE]

The stub streams 32 tokens 10 ms apart. For each number of streams at once, in turn and several times over: the stub
itself, our server (whole, as it is started in earnest, logging included), LiteLLM's proxy with one worker. Stub, proxy
and client share this machine's cores, so at many streams the tokens a second say what each of them costs. LiteLLM has
an environment of its own, `bench`, which `./capibara6 bench proxy` installs.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from bench._streams import report
from stack.secrets import ensure_secrets
from stack.settings import REPOSITORY, Settings, get_settings
from stack.topology import load_topology

START_SECONDS = 90.0
STOP_SECONDS = 10.0
CONFIGURATION = """
model_list:
  - model_name: stub
    litellm_params: {{model: openai/stub, api_base: "http://127.0.0.1:{port}/v1", api_key: none}}
"""
# Its table of prices from the package, not from the network; and no key, as our server on loopback asks for none.
LITELLM_VARIABLES = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",
}

Figures = dict[str, Any]


def ask(port: int, streams: int, seconds: float) -> Figures:
    """One run of the client. Raises RuntimeError when an answer was wrong or none came."""
    command = [sys.executable, "-m", "bench._stream_client", str(port), str(streams), str(seconds)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True, timeout=seconds + 90)
    figures: Figures = json.loads(done.stdout)
    if figures["failure"] or not figures["first_token_seconds"]:
        raise RuntimeError(figures["failure"] or f"no token came in {seconds} s")
    return figures


def measure(ports: dict[str, int], streams: int, rounds: int, seconds: float) -> dict[str, list[Figures]]:
    """The runs of each, in an order that rotates. A short one before them warms everybody up."""
    names = list(ports)
    runs: dict[str, list[Figures]] = {name: [] for name in names}
    for name in names:
        ask(ports[name], streams, 1.5)
    for number in range(rounds):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            runs[name].append(ask(ports[name], streams, seconds))
    return runs


def summarise(runs: dict[str, list[Figures]]) -> dict[str, Any]:
    """First tokens over all runs, the median run's tokens a second; and both beside the stub's own."""
    told: dict[str, Any] = {}
    for name, figures in runs.items():
        firsts = sorted(1000 * taken for run in figures for taken in run["first_token_seconds"])
        told[name] = {
            "first_token_p50_ms": round(statistics.median(firsts), 2),
            "first_token_p99_ms": round(firsts[min(len(firsts) - 1, int(0.99 * len(firsts)))], 2),
            "tokens_per_second": round(statistics.median(run["tokens"] / run["seconds"] for run in figures)),
            "answers": sum(run["answers"] for run in figures),
        }
    direct = told["direct"]
    for name in runs:
        if name != "direct":
            told[name]["added_first_token_p50_ms"] = round(
                told[name]["first_token_p50_ms"] - direct["first_token_p50_ms"], 2
            )
            told[name]["tokens_ratio"] = round(told[name]["tokens_per_second"] / direct["tokens_per_second"], 3)
    return told


@contextlib.contextmanager
def running(
    command: list[str], log: Path, environment: dict[str, str], stop_signal: int = signal.SIGTERM
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with its output in `log`, ended at the end."""
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=REPOSITORY, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        process.send_signal(stop_signal)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_answering(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Raises RuntimeError with the log's end when the process ends or takes too long."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(url, timeout=2, trust_env=False).status_code < 500:
                return
        time.sleep(0.1)
    raise RuntimeError(f"nothing answers at {url}: {log.read_text(errors='replace')[-2000:]}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def contestants(folder: Path, litellm: Path | None) -> Iterator[dict[str, int]]:
    """Ports of the stub, of our server before it and, where there is one, of LiteLLM's proxy before it."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("CAPIBARA6_")}
    stub, stub_socket = free_port(), folder / "stub"
    offset = random.randrange(10_000, 24_000)
    home = folder / "home"
    settings = Settings(home=home, port_offset=offset)
    ensure_secrets(settings)
    own = plain | {"CAPIBARA6_HOME": str(home), "CAPIBARA6_PORT_OFFSET": str(offset), "PYTHONPATH": str(REPOSITORY)}
    ours = load_topology(settings).port("model-server")
    python = sys.executable
    with contextlib.ExitStack() as processes:
        log = folder / "stub.log"
        process = processes.enter_context(
            running([python, "-m", "bench._stub_engine", str(stub_socket), str(stub)], log, own)
        )
        wait_answering(f"http://127.0.0.1:{stub}/", process, log)
        log = folder / "server.log"
        process = processes.enter_context(running([python, "-m", "bench._stub_server", str(stub_socket)], log, own))
        wait_answering(f"http://127.0.0.1:{ours}/health/live", process, log)
        ports = {"direct": stub, "model_server": ours}
        if litellm:
            ports["litellm"] = free_port()
            (folder / "litellm.yaml").write_text(CONFIGURATION.format(port=stub))
            log = folder / "litellm.log"
            command = [str(litellm), "--config", str(folder / "litellm.yaml"), "--host", "127.0.0.1"]
            command += ["--port", str(ports["litellm"]), "--num_workers", "1", "--telemetry", "False"]
            process = processes.enter_context(running(command, log, plain | LITELLM_VARIABLES))
            wait_answering(f"http://127.0.0.1:{ports['litellm']}/health/liveliness", process, log)
        yield ports


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./capibara6 bench proxy", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4, help="length of one run")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 32, 256])
    parser.add_argument("--without-litellm", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    litellm = None if given.without_litellm else get_settings().home / "envs" / "bench" / "bin" / "litellm"
    if litellm and not litellm.exists():
        parser.error("the bench environment is not installed: start this by ./capibara6 bench proxy")
    told: dict[str, Any] = {}
    with tempfile.TemporaryDirectory(prefix="capibara6-proxy-") as folder, contestants(Path(folder), litellm) as ports:
        for streams in given.streams:
            told[f"streams_{streams}"] = summarise(measure(ports, streams, given.rounds, given.seconds))
            sys.stderr.write(f"{streams} streams: {json.dumps(told[f'streams_{streams}'])}\n")
    report({"bench": "proxy", "rounds": given.rounds, "seconds_each": given.seconds, **told}, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
