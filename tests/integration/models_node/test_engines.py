"""Real vLLM engines, one at a time: forked and plain ones answer the same, and every trouble ends clean."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import psutil
import pytest
import pytest_asyncio

from models_node import weights
from models_node.catalogue import PACKAGED_WEIGHTS, Catalogue, parse_catalogue
from models_node.errors import EngineFailed, EngineOutOfMemory
from models_node.residency.engine import VllmLauncher
from models_node.residency.remains import ENGINES_OF
from models_node.residency.vllm_engine import VllmEngine
from stack.processes import marked, stack_id
from stack.settings import Settings, get_settings

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

ROOT = Path(__file__).resolve().parents[3]
LIMIT_SECONDS = 90.0
MIB = 2**20
CATALOGUE = """
default = "m"
[limits]
memory_budget = "7 GiB"
[engine]
arguments = ["--dtype", "float32", "--max-model-len", "1024", "--max-num-seqs", "4", "--enforce-eager"]
[[models]]
id = "m"
domain = "general"
description = ""
weights = "package:smollm2-135m-instruct"
context_length = 1024
memory_estimate = "3 GiB"
engine_arguments = ["--kv-cache-memory-bytes", "256M"]
[[models]]
id = "greedy"
domain = "general"
description = ""
weights = "package:smollm2-135m-instruct"
context_length = 1024
memory_estimate = "3 GiB"
engine_arguments = ["--kv-cache-memory-bytes", "64T"]
"""
QUESTIONS = ("What is the capital of France?", "Cuéntame algo de los volcanes.", "Write a loop in Python.")


@dataclass(frozen=True)
class Answers:
    """What an engine said to the questions, token for token, and where its worker's OpenMP threads may run."""

    tokens: list[list[tuple[str, float]]]
    threads: list[set[int]]


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return parse_catalogue(CATALOGUE, "test")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, catalogue: Catalogue) -> Path:
    """An installation of its own, over the weights and caches of the one that runs the tests."""
    installed = get_settings()
    weights.prepare(installed, catalogue)
    made = tmp_path_factory.mktemp("home")
    (installed.home / "cache").mkdir(exist_ok=True)
    for name in ("weights", "cache"):
        (made / name).symlink_to(installed.home / name)
    assert (made / "weights" / PACKAGED_WEIGHTS["smollm2-135m-instruct"]).is_dir()
    return made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def launcher(home: Path, catalogue: Catalogue) -> AsyncIterator[VllmLauncher]:
    made = VllmLauncher(Settings(home=home, engine_start="fork"), catalogue)
    await asyncio.to_thread(made.prepare)
    yield made
    made.close()
    await until(lambda: not marked(**{ENGINES_OF: stack_id(Settings(home=home))}))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def forked(launcher: VllmLauncher, catalogue: Catalogue) -> AsyncIterator[VllmEngine]:
    """One forked engine for the tests that only look, and the last of which outlives the nursery."""
    engine = await launcher.launch(catalogue.models[0])
    await engine.ready()
    yield engine
    await engine.stop()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def forked_answers(forked: VllmEngine) -> Answers:
    return await ask(forked)


async def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)


async def post(engine: VllmEngine, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    connector = aiohttp.UnixConnector(str(engine.socket))
    timeout = aiohttp.ClientTimeout(total=LIMIT_SECONDS)
    async with (
        aiohttp.ClientSession("http://engine", connector=connector, timeout=timeout) as session,
        session.post("/v1/chat/completions", json={"model": "m", "max_tokens": 24, "temperature": 0, **body}) as reply,
    ):
        return reply.status, await reply.json()


async def ask(engine: VllmEngine) -> Answers:
    tokens = []
    for question in QUESTIONS:
        status, reply = await post(engine, {"messages": [{"role": "user", "content": question}], "logprobs": True})
        assert status == 200, reply
        tokens.append([(each["token"], each["logprob"]) for each in reply["choices"][0]["logprobs"]["content"]])
    return Answers(tokens, openmp_threads(engine))


def openmp_threads(engine: VllmEngine) -> list[set[int]]:
    """CPUs of the worker's main thread, which is the first of its OpenMP threads."""
    return [set(process.cpu_affinity()) for process in worker(engine)]


def worker(engine: VllmEngine) -> list[psutil.Process]:
    """The process that holds the weights, once there is one: below the engine's warden, under vLLM's name for it."""
    try:
        below = psutil.Process(engine.pid).parent().children(recursive=True)
        return [process for process in below if "Worker" in " ".join(process.cmdline())]
    except (psutil.Error, AttributeError):
        return []


def processes(home: Path) -> set[int]:
    return {process.pid for process in marked(**{ENGINES_OF: stack_id(Settings(home=home))})}


async def test_a_forked_engine_serves_and_comes_from_the_nursery(launcher: VllmLauncher, forked: VllmEngine) -> None:
    assert launcher.nursery is not None
    assert launcher.nursery.pid in [parent.pid for parent in psutil.Process(forked.pid).parents()]


async def test_a_request_s_priority_is_accepted(forked: VllmEngine) -> None:
    status, reply = await post(forked, {"messages": [{"role": "user", "content": "Hello"}], "priority": 5})
    assert status == 200, reply


async def test_its_memory_is_what_it_alone_holds(launcher: VllmLauncher, forked: VllmEngine) -> None:
    told = await asyncio.to_thread(forked.measure)
    assert told.private_bytes >= 256 * MIB + 135_000_000 * 4  # its cache and its weights
    resident = sum(each.memory_info().rss for each in psutil.Process(forked.pid).parent().children(recursive=True))
    shared = await asyncio.to_thread(launcher.shared_bytes)
    assert 100 * MIB < shared < resident
    assert told.private_bytes < resident - 2 * shared  # three processes and more have the nursery's pages, free


@pytest.mark.full
async def test_plain_and_forked_engines_give_the_same_greedy_answers(
    forked_answers: Answers, home: Path, tmp_path: Path, catalogue: Catalogue
) -> None:
    own = tmp_path / "plain"
    own.mkdir()
    for name in ("weights", "cache"):
        (own / name).symlink_to(home / name)
    launcher = VllmLauncher(Settings(home=own, engine_start="spawn"), catalogue)
    await asyncio.to_thread(launcher.prepare)
    engine = await launcher.launch(catalogue.models[0])
    try:
        await engine.ready()
        plain = await ask(engine)
        assert (await asyncio.to_thread(engine.measure)).private_bytes >= 256 * MIB + 135_000_000 * 4
    finally:
        await engine.stop()
        launcher.close()
    assert plain.tokens == forked_answers.tokens
    assert plain.threads == forked_answers.threads


async def test_a_cache_that_the_machine_has_no_memory_for_is_told_as_out_of_memory(
    launcher: VllmLauncher, catalogue: Catalogue
) -> None:
    engine = await launcher.launch(catalogue.models[1])
    try:
        with pytest.raises(EngineOutOfMemory, match="kv cache"):
            await engine.ready()
    finally:
        await engine.stop()


async def test_an_engine_outlives_its_nursery_and_a_new_one_comes(
    launcher: VllmLauncher, forked: VllmEngine, home: Path
) -> None:
    nursery = launcher.nursery
    assert nursery is not None and nursery.pid is not None
    first = nursery.pid
    os.kill(first, signal.SIGKILL)
    await until(lambda: nursery.pid not in (None, first))
    status, reply = await post(forked, {"messages": [{"role": "user", "content": "Hello"}]})
    assert status == 200, reply
    await forked.stop()
    assert await forked.exited()
    await until(lambda: processes(home) <= {nursery.pid, psutil.Process(nursery.pid).ppid()})


async def test_an_engine_killed_while_it_loads_is_a_failure_and_leaves_nothing(
    launcher: VllmLauncher, catalogue: Catalogue, home: Path
) -> None:
    before = processes(home)
    engine = await launcher.launch(catalogue.models[0])
    try:
        await until(lambda: worker(engine))
        worker(engine)[0].kill()
        with pytest.raises(EngineFailed) as told:
            await engine.ready()
        assert not isinstance(told.value, EngineOutOfMemory)
        assert str(told.value).startswith("exit status 1 (")
    finally:
        await engine.stop()
    await until(lambda: processes(home) <= before)


MODEL_SERVER = """
import asyncio, pathlib, sys
from models_node.catalogue import parse_catalogue
from models_node.residency.engine import VllmLauncher
from stack.settings import Settings

async def main(home, catalogue):
    launcher = VllmLauncher(Settings(home=home, engine_start="fork"), catalogue)
    await asyncio.to_thread(launcher.prepare)
    engine = await launcher.launch(catalogue.models[0])
    print(engine.pid, flush=True)
    await asyncio.sleep(600)

asyncio.run(main(pathlib.Path(sys.argv[1]), parse_catalogue(sys.argv[2], "test")))
"""


async def test_a_model_server_killed_while_an_engine_loads_leaves_nothing(home: Path, tmp_path: Path) -> None:
    own = tmp_path / "killed"
    own.mkdir()
    for name in ("weights", "cache"):
        (own / name).symlink_to(home / name)
    server = subprocess.Popen(  # noqa: ASYNC220
        [sys.executable, "-c", MODEL_SERVER, str(own), CATALOGUE],
        env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE,
    )  # fmt: skip
    assert server.stdout is not None
    assert await asyncio.to_thread(server.stdout.readline)
    assert len(processes(own)) >= 3  # keeper, nursery, warden
    server.kill()
    server.wait()
    await until(lambda: not processes(own))
