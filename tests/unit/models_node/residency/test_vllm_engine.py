"""One engine as the pool sees it, over a stand-in for its warden and for its HTTP server."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from aiohttp import web

from models_node.errors import EngineFailed, EngineOutOfMemory, EngineStartTimedOut, ReleaseFailed
from models_node.residency import vllm_engine
from models_node.residency.vllm_engine import EngineLimits, Started, VllmEngine

LIMITS = EngineLimits(start_timeout_seconds=5, stop_timeout_seconds=0.2, sleep_timeout_seconds=5)


class FakeWarden:
    """Ends when it is told to, unless it is deaf."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.pidfd, self._writer = os.pipe()
        self.heard: list[signal.Signals] = []
        self.code: int | None = 0
        self.deaf = False

    def end(self, code: int | None) -> None:
        self.code = code
        os.close(self._writer)

    def send(self, number: signal.Signals) -> None:
        self.heard.append(number)
        if not self.deaf:
            self.end(None if number is signal.SIGKILL else 0)

    def status(self) -> int | None:
        return self.code

    def close(self) -> None:
        os.close(self.pidfd)


class Served:
    """The engine's HTTP side: answers health and the model's list, and writes down everything else."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.status = 200

    async def answer(self, request: web.Request) -> web.Response:
        if request.path == "/health":
            return web.Response()
        if request.path == "/v1/models":
            return web.json_response({"data": [{"id": "m"}]})
        body = await request.text()
        self.calls.append(f"{request.method} {request.path_qs}{f' {body}' if body else ''}")
        return web.Response(status=self.status, text="no such thing" if self.status != 200 else "")


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[Served]:
    made = Served()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    (tmp_path / "s").mkdir()
    await web.UnixSite(runner, str(tmp_path / "s" / "http")).start()
    yield made
    await runner.cleanup()


Make = Callable[..., tuple[VllmEngine, FakeWarden]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def engine(*, can_sleep: bool = True, **more: object) -> tuple[VllmEngine, FakeWarden]:
        (tmp_path / "s").mkdir(exist_ok=True)
        warden = FakeWarden()
        started = Started("m", "mark", tmp_path / "s", tmp_path / "log", 0, can_sleep)
        return VllmEngine(started, warden, LIMITS, **more), warden  # type: ignore[arg-type]

    return engine


async def test_it_is_ready_once_it_lists_its_model(served: Served, make: Make) -> None:
    engine, warden = make()
    await engine.ready()
    await engine.stop()
    assert warden.heard == [signal.SIGTERM]


async def test_level_one_sleeps_and_wakes_with_one_call_each(served: Served, make: Make) -> None:
    engine, _ = make()
    await engine.sleep(1)
    await engine.wake()
    assert served.calls == ["POST /sleep?level=1&mode=abort", "POST /wake_up"]
    await engine.stop()


async def test_level_two_reads_the_weights_again_before_the_cache_is_made(served: Served, make: Make) -> None:
    engine, _ = make()
    await engine.sleep(2)
    served.calls.clear()
    await engine.wake()
    assert served.calls == [
        "POST /wake_up?tags=weights",
        'POST /collective_rpc {"method": "reload_weights"}',
        "POST /wake_up?tags=kv_cache",
    ]
    await engine.stop()


async def test_a_refused_sleep_and_an_engine_that_is_gone_are_failures(served: Served, make: Make) -> None:
    engine, _ = make()
    served.status = 500
    with pytest.raises(EngineFailed, match=r"/sleep: status 500: no such thing"):
        await engine.sleep(1)
    engine.socket.unlink()
    with pytest.raises(EngineFailed, match="/wake_up"):
        await engine.wake()
    await engine.stop()


async def test_an_engine_without_sleep_mode_says_so(make: Make) -> None:
    engine, _ = make(can_sleep=False)
    assert not engine.can_sleep
    with pytest.raises(EngineFailed, match="cannot sleep"):
        await engine.sleep(1)
    await engine.stop()


async def test_a_death_before_it_served_is_told_with_its_last_words(make: Make, tmp_path: Path) -> None:
    failed: list[bool] = []
    engine, warden = make(on_failed_start=lambda: failed.append(True))
    (tmp_path / "log").write_text("ValueError: unknown architecture\n")
    warden.end(1)
    with pytest.raises(EngineFailed, match=r"exit status 1 \(ValueError: unknown architecture\); log: ") as told:
        await engine.ready()
    assert not isinstance(told.value, EngineOutOfMemory)
    assert failed == [True]


async def test_a_death_for_memory_is_known_by_the_log(make: Make, tmp_path: Path) -> None:
    failed: list[bool] = []
    engine, warden = make(on_failed_start=lambda: failed.append(True))
    (tmp_path / "log").write_text("ValueError: No available memory for the cache blocks.\n")
    warden.end(1)
    with pytest.raises(EngineOutOfMemory, match="No available memory"):
        await engine.ready()
    assert failed == []


async def test_a_death_for_memory_is_known_by_the_kernel_s_count(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, warden = make()
    monkeypatch.setattr(vllm_engine, "kernel_kills", lambda: 10**9)
    warden.end(137)
    with pytest.raises(EngineOutOfMemory, match="killed by signal 9"):
        await engine.ready()


async def test_an_engine_that_never_serves_runs_out_of_time(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    engine, warden = make()
    monkeypatch.setattr(engine, "_limits", EngineLimits(0.05, 0.2, 1))
    with pytest.raises(EngineStartTimedOut):
        await engine.ready()
    await engine.stop()
    assert warden.heard == [signal.SIGINT]


async def test_what_does_not_end_in_its_time_is_a_failed_release_and_may_be_tried_again(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(vllm_engine, "KILL_SECONDS", 0.1)
    ended: list[str] = []
    left = [type("Process", (), {"pid": 77})()]
    monkeypatch.setattr(vllm_engine, "end_marked", lambda name, value: ended.append(f"{name}={value}"))
    monkeypatch.setattr(vllm_engine, "marked", lambda **_: left)
    engine, warden = make()
    warden.deaf = True
    warden.code = None
    with pytest.raises(ReleaseFailed, match="77"):
        await engine.stop()
    left.clear()
    await engine.stop()
    assert ended == ["CAPIBARA6_ENGINE=mark"] * 2


class FakeGpu:
    def __init__(self, used: int) -> None:
        self.used = used

    def used_bytes(self, pids: object) -> int:
        return self.used


async def test_gpu_memory_is_what_counts_there_and_must_be_seen_to_be_given_back(make: Make) -> None:
    gpu = FakeGpu(5 * 2**30)
    engine, _ = make(gpu=gpu)
    told = await asyncio.to_thread(engine.measure)
    assert told.private_bytes == 5 * 2**30 and told.host_bytes < told.private_bytes
    with pytest.raises(ReleaseFailed, match="GPU memory"):
        await engine.stop()
    gpu.used = 0
    await engine.stop()
