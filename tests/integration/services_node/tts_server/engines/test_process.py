"""Engines as processes, with one of the tests: what it says, how it ends, what is left running."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
import pytest_asyncio

from services_node.tts_server.engines import processes
from services_node.tts_server.engines.contract import Crashed, Missing, Refused, Spoken, Utterance
from services_node.tts_server.engines.known import Known
from services_node.tts_server.engines.process import EngineProcess
from services_node.tts_server.engines.processes import EngineProcesses
from stack.paths import speech_directory
from stack.settings import Settings, get_settings

MODULE = "tests.integration.services_node.tts_server.engines.fake_engine"
KNOWN = {
    "fake": Known("fake", "services", MODULE),
    "warm": Known("warm", "services", MODULE, always=True),
    "single": Known("single", "services", MODULE, languages=("en",), by_voice=True),
    "absent": Known("absent", "tts-nowhere", MODULE),
}


def saying(text: str, voice: str = "one") -> Utterance:
    return Utterance(text, "es", ((voice, 1.0),))


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    settings = Settings(
        home=tmp_path, tts_engine_stop_seconds=0.5, tts_idle_seconds=0.2, tts_threads=1, tts_engine_start_seconds=60
    )
    environments = get_settings().home / "envs"
    (tmp_path / "envs").symlink_to(environments)
    speech_directory(settings).mkdir()
    (speech_directory(settings) / "weights").touch()
    return settings


@pytest_asyncio.fixture
async def engines(settings: Settings) -> AsyncIterator[EngineProcesses]:
    engines = EngineProcesses(settings, KNOWN)
    yield engines
    await engines.close()
    left = [child for child in psutil.Process().children() if MODULE in child.cmdline()]
    assert not left, "an engine outlived its server"


async def spoken(engine: EngineProcess, text: str, voice: str = "one") -> list[Spoken]:
    return [piece async for piece in engine.speak(saying(text, voice))]


async def eventually(holds: Callable[[], bool], seconds: float = 10) -> None:
    async with asyncio.timeout(seconds):
        while not holds():  # noqa: ASYNC110 - a process that ends wakes nobody
            await asyncio.sleep(0.02)


async def test_pieces_come_in_order_with_their_words(engines: EngineProcesses) -> None:
    engine = await engines.get("fake")
    pieces = await spoken(engine, "uno dos")
    assert [word.text for piece in pieces for word in piece.words] == ["uno", "dos"]
    assert all(len(piece.pcm) == 1600 and piece.pcm[:2] == (16383).to_bytes(2, "little") for piece in pieces)
    assert (engine.info.sample_rate, engine.info.voices[0].id) == (8000, "one")


async def test_several_speak_at_once_and_one_start_serves_all(engines: EngineProcesses) -> None:
    both = await asyncio.gather(engines.get("fake"), engines.get("fake"))
    assert both[0] is both[1]
    said = await asyncio.gather(*(spoken(both[0], f"slow {number}") for number in range(3)))
    assert [pieces[1].words[0].text for pieces in said] == ["0", "1", "2"]


async def test_one_who_leaves_while_it_starts_does_not_disturb_the_others(engines: EngineProcesses) -> None:
    leaves, stays = (asyncio.create_task(engines.get("fake")) for _ in range(2))
    await asyncio.sleep(0)
    leaves.cancel()
    assert (await stays).ended is None


async def test_refusals_and_failures_are_told_and_the_engine_goes_on(engines: EngineProcesses) -> None:
    engine = await engines.get("fake")
    with pytest.raises(Refused, match="no voice two"):
        await spoken(engine, "uno", voice="two")
    with pytest.raises(Crashed, match="ZeroDivisionError"):
        await spoken(engine, "uno fail")
    with pytest.raises(Crashed, match="no numbers"):
        await spoken(engine, "loud")
    assert len(await spoken(engine, "uno")) == 1


async def test_a_process_that_ends_in_mid_sentence_is_told_to_all_and_started_anew(engines: EngineProcesses) -> None:
    engine = await engines.get("fake")
    other = asyncio.create_task(spoken(engine, "slow " * 200))
    heard = list[Spoken]()
    with pytest.raises(Crashed, match="exit status 3"):
        async for piece in engine.speak(saying("uno crash")):
            heard.append(piece)
    assert len(heard) == 1
    with pytest.raises(Crashed):
        await other
    assert engines.infos()[0].state == "failed"
    again = await engines.get("fake")
    assert again.pid != engine.pid
    assert len(await spoken(again, "uno")) == 1


async def test_one_that_always_runs_is_started_again_by_itself(
    engines: EngineProcesses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "FIRST_WAIT_SECONDS", 0.05)
    keeping = asyncio.create_task(engines.keep("warm"))
    try:
        await eventually(lambda: engines.infos()[1].state == "ready")
        first = await engines.get("warm")
        with pytest.raises(Crashed):
            await spoken(first, "crash")
        await eventually(lambda: engines.infos()[1].state == "ready")
        again = await engines.get("warm")
        assert again.pid != first.pid and not keeping.done()
    finally:
        keeping.cancel()
    for name in ("fake", "absent"):  # one that ends when it idles is only started, if it can be
        await asyncio.wait_for(engines.keep(name), 30)


async def test_one_that_cannot_start_is_tried_again(
    engines: EngineProcesses, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "FIRST_WAIT_SECONDS", 0.05)
    (speech_directory(settings) / "weights").unlink()
    keeping = asyncio.create_task(engines.keep("warm"))
    try:
        await eventually(lambda: engines.infos()[1].state == "missing")
        (speech_directory(settings) / "weights").touch()
        await eventually(lambda: engines.infos()[1].state == "ready", 30)
    finally:
        keeping.cancel()


async def test_a_process_that_cannot_be_made_is_told(engines: EngineProcesses, monkeypatch: pytest.MonkeyPatch) -> None:
    async def no_memory(*_: object, **__: object) -> None:
        raise OSError(12, "Cannot allocate memory")

    with monkeypatch.context() as patched:
        patched.setattr(asyncio, "create_subprocess_exec", no_memory)
        with pytest.raises(Crashed, match=r"could not be started: .*memory"):
            await engines.get("fake")
    assert engines.infos()[0].state == "failed"
    assert len(await spoken(await engines.get("fake"), "uno")) == 1


async def test_a_listener_who_leaves_stops_the_work(engines: EngineProcesses) -> None:
    engine = await engines.get("fake")
    speaking = engine.speak(saying("slow " * 500))
    await anext(speaking)
    async with asyncio.timeout(5):
        await speaking.aclose()
    assert not engine.busy
    assert len(await spoken(engine, "uno")) == 1


async def test_an_engine_that_does_not_stop_is_ended(engines: EngineProcesses) -> None:
    engine = await engines.get("fake")
    task = asyncio.create_task(spoken(engine, "hang"))
    await eventually(lambda: engine.busy)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await eventually(lambda: not psutil.pid_exists(engine.pid))
    assert engine.ended is not None


async def test_what_is_missing_is_told_with_where_to_put_it(engines: EngineProcesses, settings: Settings) -> None:
    with pytest.raises(Missing, match="not installed") as told:
        await engines.get("absent")
    assert "./capibara6 install --tts absent" in told.value.mend
    (speech_directory(settings) / "weights").unlink()
    with pytest.raises(Missing, match="weights is not there"):
        await engines.get("fake")
    fake, *_, absent = engines.infos()
    assert (fake.state, absent.state) == ("missing", "missing")
    assert "put it there" in fake.mend
    (speech_directory(settings) / "weights").touch()
    assert (await engines.get("fake")).ended is None, "it is looked for again when it is asked for again"


async def test_idle_engines_end_and_the_default_one_stays(engines: EngineProcesses) -> None:
    fake, warm = await engines.get("fake"), await engines.get("warm")
    await eventually(lambda: not psutil.pid_exists(fake.pid))
    assert warm.ended is None
    assert [info.state for info in engines.infos()] == ["idle", "ready", "idle", "missing"]


async def test_an_engine_ends_with_its_server(settings: Settings) -> None:
    engine = await EngineProcess.start(KNOWN["fake"], settings)
    process = psutil.Process(engine.pid)
    speaking = asyncio.create_task(spoken(engine, "hang"))
    await eventually(lambda: engine.busy)
    transport = engine._process.stdin
    assert transport is not None
    transport.close()  # as a server that was killed leaves it
    await eventually(lambda: not process.is_running() or process.status() == psutil.STATUS_ZOMBIE)
    with pytest.raises(Crashed):
        await speaking
    await engine.stop()


async def test_one_who_leaves_an_engine_that_does_not_stop_takes_nobody_elses_speech(engines: EngineProcesses) -> None:
    engine = await engines.get("fake")
    other = asyncio.create_task(spoken(engine, "slow " * 40))
    leaves = asyncio.create_task(spoken(engine, "hang"))
    await eventually(lambda: len(engine._under_way) == 2)
    leaves.cancel()
    assert len(await other) == 40
    await eventually(lambda: not psutil.pid_exists(engine.pid))  # and what hangs is ended once nobody else speaks
    assert len(await spoken(await engines.get("fake"), "uno")) == 1


async def test_an_engine_whose_voices_speak_one_language_takes_theirs(engines: EngineProcesses) -> None:
    engine = await engines.get("single")
    assert engine.info.languages == ("es",)
