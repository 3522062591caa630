"""The pool over engines that are only told to be ready, to die or to be gone: every race is made by hand."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

from models_node.errors import EngineFailed, EngineStartTimedOut, MissingWeights
from models_node.residency.decide import Priority, State
from tests.unit.models_node.residency.pool_house import GIB, LIMIT_SECONDS, house, refused


async def test_the_first_request_loads_and_later_ones_do_not() -> None:
    async with house() as h:
        async with h.pool.lease("a") as lease:
            assert lease.socket == Path("/fake/0")
            assert (await h.status("a")).in_flight == 1
        await h.pool.load("a")
        status = await h.status("a")
        assert (len(h.launcher.engines), status.loads, status.requests, status.in_flight) == (1, 1, 2, 0)


async def test_two_models_are_two_engines_and_a_third_evicts_the_least_recently_used() -> None:
    async with house() as h:
        for model in ("a", "b", "a"):
            await h.pool.load(model)
        assert [(await h.status(m)).state for m in "abc"] == [State.READY, State.READY, State.COLD]
        await h.pool.load("c")
        assert [(await h.status(m)).state for m in "abc"] == [State.READY, State.COLD, State.READY]
        assert ("evicted", "b") in h.heard.events


async def test_eviction_waits_until_the_old_engines_processes_are_gone() -> None:
    async with house() as h:
        await h.pool.load("a")
        await h.pool.load("b")
        h.launcher.of("a").may_stop.clear()
        asking = h.asking("c")
        await h.until_state("a", State.STOPPING)
        assert len(h.launcher.engines) == 2
        h.launcher.of("a").may_stop.set()
        await asking
        assert len(h.launcher.engines) == 3


async def test_work_in_flight_is_not_evicted_and_the_waiting_request_comes_in_when_it_ends() -> None:
    async with house() as h, AsyncExitStack() as busy:
        await busy.enter_async_context(h.pool.lease("a"))
        async with h.pool.lease("b"):
            asking = h.asking("c")
            await h.until("c", lambda status: status.waiting == 1)
            assert len(h.launcher.engines) == 2
        assert (await asking).model == "c"
        assert (await h.status("a")).state is State.READY
        assert (await h.status("b")).state is State.COLD


async def test_many_requests_for_a_cold_model_share_one_load() -> None:
    async with house(at_once=False) as h:
        asking = [h.asking("a") for _ in range(4)]
        await h.launched(1)
        h.launcher.of("a").becomes_ready.set()
        leases = await asyncio.gather(*asking)
        assert len(h.launcher.engines) == 1
        assert all(lease.load_seconds > 0 for lease in leases)


async def test_a_load_that_nobody_waits_for_any_more_is_given_up() -> None:
    async with house(at_once=False) as h:
        asking = h.asking("a")
        await h.launched(1)
        asking.cancel()
        await h.until_state("a", State.COLD)
        assert h.launcher.of("a").stopped


async def test_a_load_goes_on_while_one_of_two_still_waits() -> None:
    async with house(at_once=False) as h:
        leaving, staying = h.asking("a"), h.asking("a")
        await h.launched(1)
        leaving.cancel()
        await h.until("a", lambda status: status.waiting == 1)
        h.launcher.of("a").becomes_ready.set()
        assert (await staying).model == "a"
        assert len(h.launcher.engines) == 1


async def test_a_load_given_up_before_its_task_ran_leaves_the_model_cold() -> None:
    """Cancelling a task before its first step runs none of it: the pool once waited for ever to be told of its end."""
    async with house(at_once=False) as h:
        for _ in range(50):
            asking = h.asking("a")
            for _ in range(3):
                await asyncio.sleep(0)
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking
        await h.until_state("a", State.COLD)
        asking = h.asking("a")
        await h.until_state("a", State.LOADING)
        await h.launched(1)
        h.launcher.engines[-1].becomes_ready.set()
        await asking


async def test_cancelling_while_queued_gives_the_place_up() -> None:
    async with house(max_concurrent=1) as h:
        async with h.pool.lease("a"):
            asking = h.asking("a")
            await h.until("a", lambda status: status.waiting == 1)
            asking.cancel()
            await h.until("a", lambda status: status.waiting == 0)
        assert (await h.status("a")).in_flight == 0


async def test_cancelling_at_the_moment_of_the_grant_gives_the_place_back() -> None:
    async with house(max_concurrent=1) as h:
        await h.pool.load("a")
        for yields in range(6):
            asking = h.asking("a")
            for _ in range(yields):
                await asyncio.sleep(0)
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking
        status = await h.until("a", lambda status: status.in_flight == 0)
        assert status.waiting == 0
        await h.pool.load("a")


async def test_more_than_max_concurrent_wait_their_turn_in_order() -> None:
    async with house(max_concurrent=1) as h:
        order: list[int] = []

        async def ask(number: int) -> None:
            async with h.pool.lease("a"):
                order.append(number)

        async with h.pool.lease("a"):
            tasks = []
            for number in range(3):
                tasks.append(asyncio.create_task(ask(number)))
                await h.until("a", lambda status, n=number: status.waiting == n + 1)  # type: ignore[misc]
        await asyncio.gather(*tasks)
        assert order == [0, 1, 2]


async def test_a_full_queue_refuses_with_429_and_when_to_come_back() -> None:
    async with house(at_once=False, queue_limit=2) as h:
        waiting = [h.asking("a"), h.asking("b")]
        await h.launched(2)
        error = await refused(h.asking("a"))
        assert (error.status, error.code) == (429, "queue_full")
        assert error.headers["retry-after"] == "5"
        for engine in h.launcher.engines:
            engine.becomes_ready.set()
        await asyncio.gather(*waiting)


async def test_a_model_larger_than_the_budget_is_refused_at_once() -> None:
    async with house() as h:
        error = await refused(h.asking("huge"))
        assert (error.status, error.code) == (503, "out_of_memory")
        assert "retry-after" in error.headers


async def test_waiting_for_room_has_an_end() -> None:
    async with house(budget=3 * GIB, queue_timeout=0.05) as h, h.pool.lease("a"):
        error = await refused(h.asking("b"))
        assert (error.status, error.code) == (503, "queue_timeout")


async def test_the_time_a_load_takes_is_not_waiting_for_room() -> None:
    async with house(at_once=False, queue_timeout=0.05) as h:
        asking = h.asking("a")
        await h.launched(1)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(asking), 0.15)
        h.launcher.of("a").becomes_ready.set()
        assert (await asking).load_seconds > 0.1


async def test_death_during_the_load_is_told_to_all_and_the_next_request_loads_again() -> None:
    async with house(at_once=False) as h:
        asking = [h.asking("a"), h.asking("a")]
        await h.launched(1)
        h.launcher.of("a").fail(EngineFailed("exit status 1 (no such file)"))
        for task in asking:
            error = await refused(task)
            assert (error.status, error.code) == (502, "load_failed")
            assert "no such file" in error.detail
        status = await h.until_state("a", State.COLD)
        assert status.load_failure == "exit status 1 (no such file)"
        again = h.asking("a")
        await h.launched(2)
        h.launcher.of("a").becomes_ready.set()
        await again
        assert (await h.status("a")).load_failure is None


async def test_a_start_that_takes_too_long_is_a_504() -> None:
    async with house(at_once=False) as h:
        asking = h.asking("a")
        await h.launched(1)
        h.launcher.of("a").fail(EngineStartTimedOut("it was not ready after 300 s"))
        assert (await refused(asking)).status == 504


async def test_an_engine_that_cannot_even_be_started_is_told() -> None:
    async with house() as h:
        h.launcher.refusal = MissingWeights("no weights in /nowhere")
        assert "no weights in /nowhere" in (await refused(h.asking("a"))).detail
        h.launcher.refusal = None
        await h.pool.load("a")


async def test_death_while_serving_makes_it_cold_and_who_waits_is_served_by_the_next_engine() -> None:
    async with house(max_concurrent=1) as h:
        with pytest.raises(ConnectionError):
            async with h.pool.lease("a"):
                waiting = h.asking("a")
                await h.until("a", lambda status: status.waiting == 1)
                h.launcher.of("a").dies.set()
                await h.until("a", lambda status: status.loads == 2)
                raise ConnectionError  # as the proxy sees it
        assert (await waiting).socket == Path("/fake/1")
        assert (await h.status("a")).loads == 2


async def test_an_engine_that_says_it_is_dead_gets_no_more_requests() -> None:
    async with house() as h:
        lease = await h.pool.load("a")
        h.pool.broken(lease)
        assert (await h.pool.load("a")).socket == Path("/fake/1")
        h.pool.broken(lease)  # of the old engine: the new one is not touched
        assert (await h.pool.load("a")).socket == Path("/fake/1")


async def test_an_idle_engine_is_unloaded_after_its_keep_alive() -> None:
    async with house(keep_alive=0.05) as h:
        await h.pool.load("a")
        await h.until_state("a", State.COLD)
        assert h.launcher.of("a").stopped


async def test_a_busy_engine_is_kept_beyond_its_keep_alive() -> None:
    async with house(keep_alive=0.02) as h:
        async with h.pool.lease("a"):
            await h.pool.load("b")
            await h.until_state("b", State.COLD)
            assert (await h.status("a")).state is State.READY
        await h.until_state("a", State.COLD)


async def test_unload_frees_an_idle_model_and_waits_for_a_busy_one() -> None:
    async with house() as h:
        await h.pool.unload("a")  # cold already
        async with h.pool.lease("a"):
            unloading = asyncio.create_task(h.pool.unload("a"))
            await h.until("a", lambda status: status.draining)
            assert not unloading.done()
        await unloading
        assert h.launcher.of("a").stopped
        assert (await h.status("a")).state is State.COLD


async def test_a_request_during_an_unload_loads_it_again_once_it_is_gone() -> None:
    async with house() as h:
        await h.pool.load("a")
        h.launcher.of("a").may_stop.clear()
        unloading = asyncio.create_task(h.pool.unload("a"))
        await h.until_state("a", State.STOPPING)
        asking = h.asking("a")
        await h.until("a", lambda status: status.waiting == 1)
        h.launcher.engines[0].may_stop.set()
        await unloading
        assert (await asking).socket == Path("/fake/1")


async def test_a_remote_model_needs_no_engine_and_no_memory() -> None:
    async with house(budget=1) as h:
        async with h.pool.lease("far") as lease:
            assert lease.socket is None
        assert not h.launcher.engines


async def test_refusing_tells_the_waiting_and_lets_the_running_finish() -> None:
    async with house(max_concurrent=1) as h, h.pool.lease("a"):
        waiting = h.asking("a")
        await h.until("a", lambda status: status.waiting == 1)
        h.pool.refuse()
        assert (await refused(waiting)).code == "server_stopping"
        assert (await refused(h.asking("b"))).code == "server_stopping"
        assert (await h.status("a")).state is State.READY


async def test_stopping_in_the_middle_of_everything_leaves_nothing_and_nobody_hanging() -> None:
    async with house(at_once=False, budget=6 * GIB, max_concurrent=1) as h, AsyncExitStack() as stack:
        serving = asyncio.create_task(stack.enter_async_context(h.pool.lease("a")))
        await h.launched(1)
        h.launcher.of("a").becomes_ready.set()
        await serving
        loading, queued, blocked = h.asking("b"), h.asking("a"), h.asking("c")
        await h.launched(2)
        async with asyncio.timeout(LIMIT_SECONDS):
            await h.pool.stop()
        for task in (loading, queued, blocked):
            assert (await refused(task)).code == "server_stopping"
        assert (await refused(h.asking("a"))).code == "server_stopping"
        await h.pool.stop()


async def test_cancelling_an_engines_task_twice_still_stops_it_to_the_end() -> None:
    async with house() as h:
        await h.pool.load("a")
        engine = h.launcher.of("a")
        engine.may_stop.clear()
        unloading = asyncio.create_task(h.pool.unload("a"))
        await h.until_state("a", State.STOPPING)
        for task in asyncio.all_tasks():
            if task.get_name() == "engine a":
                task.cancel()
        await h.until_state("a", State.STOPPING)
        engine.may_stop.set()
        await unloading
        assert engine.stopped
        assert engine.stops == 1


async def test_what_an_engine_takes_is_measured_after_its_load() -> None:
    async with house() as h:
        await h.pool.load("a")
        h.launcher.of("a").private_bytes = 2 * GIB
        await h.pool.unload("a")
        await h.pool.load("a")
        status = await h.until("a", lambda status: status.measured_bytes is not None)
        assert status.charged_bytes == status.measured_bytes
        assert h.pool.ledger().held_bytes == status.charged_bytes


async def test_an_engine_that_is_not_gone_is_stopped_again_and_keeps_its_memory_until_then(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("models_node.residency.lifecycle.RELEASE_RETRY_SECONDS", 0.05)
    async with house(budget=3 * GIB) as h:
        await h.pool.load("a")
        h.launcher.of("a").releases_badly = 1
        asking = h.asking("b")
        status = await h.until("a", lambda status: status.stuck is not None)
        assert status.charged_bytes == 3 * GIB
        assert (await h.status("b")).state is State.COLD
        assert (await asking).model == "b"
        assert h.launcher.engines[0].stops == 2


async def test_a_stop_is_not_held_up_by_an_engine_that_cannot_be_ended() -> None:
    async with house() as h:
        await h.pool.load("a")
        h.launcher.of("a").releases_badly = 1
        async with asyncio.timeout(LIMIT_SECONDS):
            await h.pool.stop()
        h.launcher.of("a").stopped = True


async def test_a_wedged_engine_is_replaced_and_told_of() -> None:
    async with house(quiet_seconds=0.05) as h:
        with pytest.raises(ConnectionError):
            async with h.pool.lease("a"):
                await h.until("a", lambda status: status.verified)
                h.prober.to_lose = 1
                await h.until("a", lambda _: ("wedged", "a") in h.heard.events)
                raise ConnectionError
        status = await h.until("a", lambda status: status.loads == 2 and not status.wedged)
        assert status.state is State.READY


async def test_output_that_is_heard_keeps_an_engine_from_being_probed() -> None:
    async with house(quiet_seconds=0.2) as h, h.pool.lease("a") as lease:
        await h.until("a", lambda status: h.prober.probes == 1)  # the one after the load
        for _ in range(40):
            lease.heard()
            await asyncio.sleep(0.01)
        assert h.prober.probes == 1
        await h.until("a", lambda status: h.prober.probes > 1)


async def test_sleeping_engines_wake_for_the_next_request() -> None:
    async with house(budget=3 * GIB) as h:
        h.launcher.can_sleep = True
        await h.pool.load("a")
        await h.pool.load("b")
        assert (await h.status("a")).state is State.ASLEEP
        assert h.launcher.engines[0].level == 2  # there is no main memory set apart for weights
        await h.pool.load("a")
        status = await h.status("a")
        assert (status.loads, status.wakes) == (1, 1)


async def test_batch_requests_may_fill_half_of_the_queue() -> None:
    async with house(at_once=False, queue_limit=2) as h:
        batch = asyncio.create_task(h.pool.lease("a", Priority.BATCH).__aenter__())
        await h.launched(1)
        second = asyncio.create_task(h.pool.lease("a", Priority.BATCH).__aenter__())
        assert (await refused(second)).code == "queue_full"
        person = h.asking("a")
        await h.until("a", lambda status: status.waiting == 2)
        h.launcher.of("a").becomes_ready.set()
        await asyncio.gather(batch, person)


async def test_waits_and_progress_tell_what_to_expect() -> None:
    async with house(at_once=False) as h:
        assert h.pool.waits()["a"] > 0
        asking = h.asking("a")
        await h.launched(1)
        assert h.pool.progress("a").phase == "loading"
        h.launcher.of("a").becomes_ready.set()
        await asking
        assert h.pool.waits()["a"] == 0
        assert h.pool.progress("a").phase == "ready"


async def test_two_hundred_clients_for_five_models_in_a_budget_of_two_are_all_served() -> None:
    async with house(budget=7 * GIB, queue_limit=500, max_concurrent=4, models="abcde", patience_seconds=0.05) as h:
        alive: list[int] = []
        served: list[str] = []

        async def ask(number: int) -> None:
            async with h.pool.lease("abcde"[number % 5]) as lease:
                alive.append(sum(not engine.stopped for engine in h.launcher.engines))
                await asyncio.sleep(0.002)
                served.append(lease.model)

        async with asyncio.timeout(30):
            await asyncio.gather(*(ask(number) for number in range(200)))
        assert sorted(served) == sorted("abcde" * 40)
        assert max(alive) <= 2
        status = h.pool.status()
        assert all(each.waiting == each.in_flight == 0 for each in status)
