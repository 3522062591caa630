"""Code and clients that do their worst: each execution ends, each tells why, and the next one works."""

from __future__ import annotations

import gzip
import json
import socket
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from running_agent import ISOLATION, RunningAgent, wait_for

Event = dict[str, object]


def error_of(events: list[Event]) -> Event:
    (error,) = [event for event in events if event["type"] == "error"]
    return error


def text_of(events: list[Event], stream: str = "stdout") -> str:
    return "".join(str(event["text"]) for event in events if event["type"] == stream)


def test_a_kernel_that_ends_itself_is_told_of_and_replaced(agent: RunningAgent) -> None:
    context = agent.context()
    for code in ("import os; os._exit(3)", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"):
        events = agent.execute(code, context_id=context)
        assert error_of(events)["name"] == "KernelDied"
        assert events[-1] == {"type": "end_of_execution"}
        assert {"type": "result", "is_main_result": True, "text": "2"} in agent.execute("1+1", context_id=context)


@pytest.mark.skipif(not ISOLATION, reason="without a pid namespace this would end the tests themselves")
def test_killing_everything_kills_no_agent(agent: RunningAgent) -> None:
    agent.execute("import os, signal; os.kill(-1, signal.SIGKILL)")
    agent.execute("import os, signal; [os.kill(1, number) for number in (1, 2, 9, 10, 15)]")
    assert text_of(agent.execute("print('alive')")) == "alive\n"


def test_closing_every_descriptor_ends_in_an_error(agent: RunningAgent) -> None:
    context = agent.context()
    events = agent.execute("import os; os.closerange(0, 1000)", context_id=context)
    assert error_of(events)["name"] == "KernelDied"
    assert text_of(agent.execute("print(1)", context_id=context)) == "1\n"


def test_garbage_in_the_kernels_own_line_ends_in_an_error(agent: RunningAgent) -> None:
    context = agent.context()
    code = (
        "import os, socket, stat\n"
        "for number in range(3, 100):\n"
        "    try:\n"
        "        if stat.S_ISSOCK(os.fstat(number).st_mode): os.write(number, b'\\xff' * 100)\n"
        "    except OSError: pass\n"
    )
    assert error_of(agent.execute(code, context_id=context))["name"] == "KernelDied"
    assert text_of(agent.execute("print(1)", context_id=context)) == "1\n"


def test_endless_output_is_cut_once_and_stopped(tight: RunningAgent) -> None:
    events = tight.execute("while True: print('x' * 1000)")
    assert error_of(events)["name"] == "OutputLimitExceeded"
    assert text_of(events, "stderr") == "[output cut: more than 200000 bytes]\n"
    assert 190_000 <= len(text_of(events)) <= 200_000
    assert text_of(tight.execute("print(1)")) == "1\n"


def test_one_huge_line_and_one_huge_result_are_bounded(tight: RunningAgent) -> None:
    assert len(text_of(tight.execute("print('x' * 10_000_000)"))) <= 200_000
    assert "left out" in text_of(tight.execute("'y' * 10_000_000"), "stderr")
    assert text_of(tight.execute("print(1)")) == "1\n"


def test_displays_are_bounded_too(tight: RunningAgent) -> None:
    events = tight.execute("from IPython.display import display\nwhile True: display('x' * 1000)")
    assert error_of(events)["name"] == "OutputLimitExceeded"


def test_code_that_takes_too_long_is_stopped_and_told(tight: RunningAgent) -> None:
    error = error_of(tight.execute("kept = 1\nwhile True: pass"))
    assert (error["name"], error["value"]) == ("TimeoutError", "the code ran longer than 2 s and was stopped")
    assert text_of(tight.execute("print(kept)")) == "1\n"


def test_code_that_will_not_be_interrupted_is_killed(tight: RunningAgent) -> None:
    code = "import time\nwhile True:\n    try: time.sleep(1)\n    except BaseException: pass"
    assert error_of(tight.execute(code))["name"] == "TimeoutError"
    assert text_of(tight.execute("print(1)")) == "1\n"


def test_a_loop_in_bash_and_in_javascript_is_stopped(tight: RunningAgent) -> None:
    assert error_of(tight.execute("while true; do :; done", language="bash"))["name"] == "TimeoutError"
    assert text_of(tight.execute("echo 1", language="bash")) == "1\n"
    assert error_of(tight.execute("while (true) {}", language="javascript"))["name"] == "TimeoutError"
    assert text_of(tight.execute("console.log(1)", language="javascript")) == "1\n"


def test_memory_and_recursion_errors_are_ordinary_errors(agent: RunningAgent) -> None:
    assert error_of(agent.execute("bytearray(2**60)"))["name"] in ("MemoryError", "OverflowError")
    assert error_of(agent.execute("def f(): return f()\nf()"))["name"] == "RecursionError"
    assert error_of(agent.execute("raise ValueError('x' * 10_000_000)"))["name"] == "ValueError"


def test_bytes_and_lone_surrogates_do_no_harm(agent: RunningAgent) -> None:
    assert "\ufffd" in text_of(agent.execute("import os; os.write(1, bytes(range(256))); None"))
    assert agent.execute("print('\\ud800')")[-1] == {"type": "end_of_execution"}
    assert agent.execute("{'a': 2**100, 'b': '\\ud800'}")[-1] == {"type": "end_of_execution"}
    assert agent.execute("from IPython.display import JSON; JSON({'a': 2**100, 'b': float('nan')})")[-1]


def test_what_a_cell_leaves_running_does_not_hold_its_end(agent: RunningAgent) -> None:
    code = "import subprocess; left = subprocess.Popen(['sleep', '600']); print('done')"
    assert text_of(agent.execute(code)) == "done\n"
    agent.execute("left.kill()")


def test_a_child_that_user_code_forks_does_not_answer_for_the_kernel(agent: RunningAgent) -> None:
    events = agent.execute("import os\nchild = os.fork()\nprint('child' if child == 0 else 'parent')\nif child: os.wait()")
    assert sorted(text_of(events).split()) == ["child", "parent"]
    assert text_of(agent.execute("print('once')")) == "once\n"


def test_forked_kernels_draw_different_random_numbers(agent: RunningAgent) -> None:
    code = "import random, numpy; print(random.random(), numpy.random.random())"
    drawn = {text_of(agent.execute(code, context_id=agent.context())) for _ in range(3)}
    assert len(drawn) == 3


def test_fifty_executions_wait_their_turn_in_one_context(agent: RunningAgent) -> None:
    context = agent.context()
    agent.execute("seen = []", context_id=context)
    with ThreadPoolExecutor(50) as pool:
        ran = list(pool.map(lambda index: agent.execute(f"seen.append({index})", context_id=context), range(50)))
    assert all(not [event for event in events if event["type"] == "error"] for events in ran)
    assert text_of(agent.execute("print(sorted(seen) == list(range(50)))", context_id=context)) == "True\n"


def test_a_restart_ends_what_runs_and_lets_the_rest_run(agent: RunningAgent) -> None:
    context = agent.context()
    with ThreadPoolExecutor(2) as pool:
        running = pool.submit(agent.execute, "print('on', flush=True)\nwhile True: pass", context_id=context)
        waiting = pool.submit(agent.execute, "print('after')", context_id=context)
        wait_for(lambda: running.running() or waiting.running(), 10)
        assert agent.http.post(f"/contexts/{context}/restart").status_code == 204
        first, second = running.result(30), waiting.result(30)
    if first[-2]["type"] == "error":  # it had begun
        assert first[-2]["name"] == "KernelRestarted"
    assert text_of(second) == "after\n"


def test_a_client_that_leaves_ends_its_execution(agent: RunningAgent) -> None:
    context = agent.context()
    body = {"code": "import time\nprint('begun', flush=True)\nwhile True: time.sleep(0.01)", "context_id": context}
    with agent.http.stream("POST", "/execute", json=body) as response:
        assert "begun" in next(response.iter_lines())
    assert text_of(agent.execute("print('free')", context_id=context)) == "free\n"


def test_a_client_that_leaves_the_queue_is_not_run(agent: RunningAgent) -> None:
    context = agent.context()
    agent.execute("ran = []", context_id=context)
    with ThreadPoolExecutor(1) as pool:
        body = {"code": "print(1, flush=True); import time; time.sleep(1)", "context_id": context}
        with agent.http.stream("POST", "/execute", json=body) as first:
            lines = first.iter_lines()
            next(lines)
            queued = pool.submit(_post_and_leave, agent, {"code": "ran.append(1)", "context_id": context})
            queued.result(10)
            assert json.loads(list(lines)[-1]) == {"type": "end_of_execution"}
    assert text_of(agent.execute("print(ran)", context_id=context)) == "[]\n"


def test_nothing_is_left_as_a_zombie(agent: RunningAgent) -> None:
    agent.execute("import subprocess; [subprocess.Popen('sleep 0 &', shell=True) for _ in range(20)]; None")
    context = agent.context()
    agent.http.delete(f"/contexts/{context}")
    wait_for(lambda: "Z" not in agent.children(), 10)


def test_a_zip_bomb_is_stopped_and_leaves_nothing(tight: RunningAgent) -> None:
    bomb = gzip.compress(bytes(50 * 2**20))
    headers = {"content-type": "application/octet-stream", "content-encoding": "gzip"}
    response = tight.http.post("/files?path=bomb", content=bomb, headers=headers)
    assert (response.status_code, "1048576" in response.json()["message"]) == (413, True)
    assert list(tight.home.iterdir()) == []


def test_an_upload_that_stalls_is_cut_off_and_leaves_nothing(tight: RunningAgent) -> None:
    host, port = tight.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(b"POST /files?path=slow HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc")
        assert connection.recv(1000).startswith(b"HTTP/1.1 408")
    wait_for(lambda: list(tight.home.iterdir()) == [], 10)


def test_an_upload_whose_client_leaves_leaves_nothing(tight: RunningAgent) -> None:
    host, port = tight.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(b"POST /files?path=left HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\nabc")
    wait_for(lambda: list(tight.home.iterdir()) == [], 10)


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"content-type": "text/plain"}, b"x", 400),
        ({"content-type": "multipart/form-data"}, b"x", 400),
        ({"content-type": "multipart/form-data; boundary=b"}, b"nonsense", 400),
        ({"content-type": "multipart/form-data; boundary=b"}, b"--b\r\ncontent-disposition: form-data; name=file; filename=a\r\n\r\nx", 400),
        ({"content-type": "application/octet-stream", "content-encoding": "gzip"}, b"nonsense", 400),
        ({"content-type": "application/octet-stream", "content-encoding": "br"}, b"x", 400),
    ],
)  # fmt: skip
def test_malformed_uploads_are_refused_and_leave_nothing(
    tight: RunningAgent, headers: dict[str, str], content: bytes, status: int
) -> None:
    response = tight.http.post("/files?path=odd", content=content, headers=headers)
    assert response.status_code == status, response.text
    assert list(tight.home.iterdir()) == []


def test_a_full_disk_is_told_and_leaves_nothing_half_written(agent: RunningAgent) -> None:
    response = agent.http.post("/files?path=/dev/full/x", content=b"x")
    assert response.status_code == 400
    response = agent.http.post("/execute", content=b"no json")
    assert response.status_code == 400


def test_environment_from_init_reaches_code_and_commands(tight: RunningAgent) -> None:
    assert tight.http.post("/init", json={"envVars": {"FROM_CREATOR": "yes"}}).status_code == 204
    assert text_of(tight.execute("import os; print(os.environ['FROM_CREATOR'])")) == "yes\n"
    assert text_of(tight.execute("echo $FROM_CREATOR", language="bash")) == "yes\n"
    assert tight.http.get("/envs").json()["FROM_CREATOR"] == "yes"
    assert tight.http.post("/init", json={"envVars": {"A=B": "x"}}).status_code == 400


def _post_and_leave(agent: RunningAgent, body: dict[str, str]) -> None:
    with pytest.raises(httpx.ReadTimeout), httpx.Client(base_url=agent.url, timeout=0.3) as leaving:
        leaving.post("/execute", json=body)
