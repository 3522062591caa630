"""Code runs in the stack's own sandboxes: by the unmodified E2B SDK, and from services."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from e2b import FilesystemEventType, NotFoundException, PtySize, SandboxQuery, TimeoutException
from e2b_code_interpreter import AsyncSandbox, Sandbox

from tests.e2e.stack import Stack, eventually

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="only root can make users and cgroups for sandboxes")

PNG = b"\x89PNG\r\n\x1a\n"
SALES = "mes,ventas\n1,10\n2,30\n3,20\n"
PLOT = """
import pandas as pd, matplotlib.pyplot as plt
sales = pd.read_csv('ventas.csv')
sales.plot(x='mes', y='ventas', title='Ventas')
plt.savefig('grafica.png')
plt.show()
print('total', sales.ventas.sum())
int(sales.ventas.sum())
"""


def options(stack: Stack) -> dict[str, Any]:
    url = stack.env()["CAPIBARA6_SANDBOX_URL"]
    return {"api_key": "local", "api_url": url, "sandbox_url": url}


@pytest.fixture
def sandbox(stack: Stack) -> Iterator[Sandbox]:
    made = Sandbox.create(timeout=120, metadata={"test": "e2e"}, **options(stack))
    try:
        yield made
    finally:
        made.kill()


def test_the_sdk_runs_code_keeps_state_and_shows_figures(sandbox: Sandbox) -> None:
    heard: list[str] = []
    sandbox.run_code("x = 20", envs={"A": "1"})
    result = sandbox.run_code("import os\nprint('so'); x + 1", on_stdout=lambda line: heard.append(str(line)))
    assert result.text == "21"
    assert "".join(heard) == "so\n"
    figure = sandbox.run_code("import matplotlib.pyplot as plt\nplt.bar(['a', 'b'], [1, 2]); plt.show()").results[0]
    assert figure.png
    assert figure.chart.elements[1].value == 2
    table = sandbox.run_code("import pandas; pandas.DataFrame({'a': [1]})").results[0]
    assert "<table" in table.html
    assert table.data == {"a": {0: 1}}
    failed = sandbox.run_code("def f(): return 1 / 0\nf()").error
    assert failed is not None
    assert (failed.name, failed.value) == ("ZeroDivisionError", "division by zero")


@pytest.mark.parametrize(("language", "code"), [("bash", "echo $((40 + 2))"), ("javascript", "40 + 2")])
def test_the_sdk_runs_other_languages(sandbox: Sandbox, language: str, code: str) -> None:
    result = sandbox.run_code(code, language=language)
    assert (result.text or "".join(result.logs.stdout)).strip() == "42"


def test_contexts_are_worlds_of_their_own(sandbox: Sandbox) -> None:
    context = sandbox.create_code_context(cwd="/tmp")
    sandbox.run_code("a = 1", context=context)
    assert sandbox.run_code("a").error is not None
    assert sandbox.run_code("import os; a, os.getcwd()", context=context).text == "(1, '/tmp')"
    sandbox.restart_code_context(context)
    assert sandbox.run_code("a", context=context).error is not None
    sandbox.remove_code_context(context)


def test_files_commands_watches_and_terminals(sandbox: Sandbox) -> None:
    watch = sandbox.files.watch_dir(".")
    sandbox.files.write_files([{"path": "a.txt", "data": "á"}, {"path": "b/c.bin", "data": b"\0\1"}])
    assert sandbox.files.read("a.txt") == "á"
    assert bytes(sandbox.files.read("b/c.bin", format="bytes")) == b"\0\1"
    assert {entry.name for entry in sandbox.files.list(".", depth=2)} >= {"a.txt", "b", "c.bin"}
    seen: list[Any] = []
    eventually(lambda: seen.extend(watch.get_new_events()) or any(e.name == "a.txt" for e in seen), 10, "an event")
    assert FilesystemEventType.CREATE in {event.type for event in seen}
    watch.stop()
    sandbox.files.rename("a.txt", "d.txt")
    assert not sandbox.files.exists("a.txt")
    sandbox.files.remove("d.txt")

    done = sandbox.commands.run("echo $WORD; pwd; echo no >&2", envs={"WORD": "hola"}, cwd="/tmp")
    assert (done.stdout, done.stderr) == ("hola\n/tmp\n", "no\n")
    cat = sandbox.commands.run("cat", background=True, stdin=True)
    sandbox.commands.send_stdin(cat.pid, "through\n")
    assert cat.pid in {process.pid for process in sandbox.commands.list()}
    assert sandbox.commands.kill(cat.pid)

    said: list[bytes] = []
    terminal = sandbox.pty.create(PtySize(rows=20, cols=70))
    sandbox.pty.send_stdin(terminal.pid, b"stty size; exit\n")
    for _, _, out in terminal:
        said.append(out or b"")
    assert b"20 70" in b"".join(said)


def test_a_sandbox_is_found_prolonged_and_ended(stack: Stack, sandbox: Sandbox) -> None:
    info = sandbox.get_info()
    assert (info.metadata, info.state.value) == ({"test": "e2e"}, "running")
    listed = Sandbox.list(query=SandboxQuery(metadata={"test": "e2e"}), **options(stack)).next_items()
    assert sandbox.sandbox_id in {entry.sandbox_id for entry in listed}
    sandbox.set_timeout(300)
    assert sandbox.get_info().end_at > info.end_at
    again = Sandbox.connect(sandbox.sandbox_id, **options(stack))
    assert again.run_code("1").text == "1"
    eventually(sandbox.get_metrics, 30, "measurements")
    assert sandbox.kill()
    assert not sandbox.is_running()
    with pytest.raises(NotFoundException):
        sandbox.get_info()


def test_the_async_sdk_does_the_same(stack: Stack) -> None:
    async def use() -> None:
        sandbox = await AsyncSandbox.create(timeout=60, **options(stack))
        try:
            results = await asyncio.gather(*(sandbox.run_code(f"{n} + 1") for n in range(3)))
            assert [result.text for result in results] == ["1", "2", "3"]
            await sandbox.files.write("x", "y" * 100_000)
            assert len(await sandbox.files.read("x")) == 100_000
            assert (await sandbox.commands.run("wc -c < x")).stdout.strip() == "100000"
            with pytest.raises(TimeoutException):
                await sandbox.run_code("while True: pass", timeout=1)
            assert (await sandbox.run_code("'free again'")).text == "free again"
        finally:
            await sandbox.kill()

    asyncio.run(use())


def test_the_nodes_ledger_holds_memory_for_the_sandboxes(stack: Stack, sandbox: Sandbox) -> None:
    def held() -> int:
        holders = stack.get("model-server", "/stats")["memory"]["holders"]
        return sum(entry["bytes"] for entry in holders if entry["holder"] == "sandboxes")

    assert held() > 100 * 2**20
    before = held()
    sandbox.run_code("big = bytearray(400 << 20); big[::4096] = b'1' * len(big[::4096])")
    eventually(lambda: held() > before + 200 * 2**20, 30, "what it uses is held")


def test_a_table_is_plotted_from_services_and_its_figure_downloaded(stack: Stack) -> None:
    files = [{"name": "ventas.csv", "content": SALES}]
    reply = httpx.post(f"{stack.url('chat-api')}/api/code/run", json={"code": PLOT, "files": files}, timeout=120)
    assert reply.status_code == 200, reply.text
    said = reply.json()
    assert said["stdout"] == "total 60\n"
    assert said["error"] is None
    assert [result["text"] for result in said["results"] if result["is_main_result"]] == ["60"]
    names = {file["name"] for file in said["files"]}
    assert "grafica.png" in names
    for file in said["files"]:
        got = httpx.get(stack.url("chat-api") + file["url"], timeout=30)
        assert got.content.startswith(PNG), file
        assert got.headers["content-type"] == "image/png"

    story = stack.run_story(said["run_id"])
    assert (story["kind"], story["status"]) == ("code", "completed")
    assert {file["name"] for file in story["files"]} == names
    flow_run = eventually(
        lambda: stack.run_story(said["run_id"])["prefect_flow_run_id"], 60, "the run stands in Prefect"
    )
    state = eventually(
        lambda: stack.get("prefect-server", f"/api/flow_runs/{flow_run}")["state_type"] == "COMPLETED", 60, "completed"
    )
    assert state


def test_a_conversation_keeps_its_sandbox_between_turns(stack: Stack) -> None:
    conversation = stack.get("chat-api", "/api/conversations")["conversations"]
    if not conversation:
        list(stack.events("hola", max_tokens=2))
        conversation = stack.get("chat-api", "/api/conversations")["conversations"]
    body = {"conversation_id": conversation[0]["id"]}

    def run(code: str) -> dict[str, Any]:
        url = f"{stack.url('chat-api')}/api/code/run"
        said: dict[str, Any] = httpx.post(url, json={**body, "code": code}, timeout=120).json()
        return said

    first = run("kept = 6 * 7")
    second = run("kept")
    assert second["results"][0]["text"] == "42"
    assert second["sandbox_id"] == first["sandbox_id"]
    Sandbox.kill(first["sandbox_id"], **options(stack))
    third = run("kept")
    assert third["error"]["name"] == "NameError"
    assert third["notice"]


def test_code_that_takes_too_long_is_interrupted_and_the_stack_goes_on(stack: Stack) -> None:
    url = f"{stack.url('chat-api')}/api/code/run"
    began = time.monotonic()
    said = httpx.post(url, json={"code": "print(1)\nwhile True: pass", "timeout_seconds": 2}, timeout=120).json()
    assert said["error"]["name"] == "ExecutionTimeout"
    assert said["stdout"] == "1\n"
    assert time.monotonic() - began < 60
    assert httpx.post(url, json={"code": "1"}, timeout=60).json()["results"][0]["text"] == "1"


def test_a_batch_of_jobs_runs_as_a_deployment(stack: Stack) -> None:
    jobs = [{"code": "print(1)"}, {"code": "open('two.txt', 'w').write('2')"}, {"code": "1 / 0"}]
    reply = httpx.post(f"{stack.url('chat-api')}/api/flows/code-batch/runs", json={"jobs": jobs}, timeout=60)
    assert reply.status_code == 202, reply.text
    run_id = reply.json()["run_id"]
    eventually(lambda: stack.run_story(run_id)["status"] in ("completed", "failed"), 180, "the batch has ended")
    story = stack.run_story(run_id)
    assert story["status"] == "completed"
    assert any(file["name"].endswith("two.txt") for file in story["files"])
