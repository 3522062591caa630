"""The chat API on real sandboxes, which E2B's variables alone lead it to: a second gateway, on another port."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from installation import REPOSITORY, Installation, eventually

from stack.install.environments import environment_python, is_complete_environment
from stack.secrets import ensure_secrets
from stack.settings import read_settings

GATEWAY = 8086
PLOT = """
import pandas as pd
import matplotlib.pyplot as plt
frame = pd.read_csv("sales.csv")
print(int(frame.eur.sum()))
frame.plot(x="month", y="eur", kind="bar", title="Sales")
plt.show()
"""


@pytest.fixture(scope="module")
def second_gateway(stack: Installation) -> Iterator[str]:
    if os.getuid() != 0 or not is_complete_environment(read_settings(), "sandbox"):
        pytest.skip("only root can make real sandboxes, from their own environment")
    home = Path(tempfile.mkdtemp(prefix="capibara6-sandboxes-"))
    home.chmod(0o755)
    (home / "envs").symlink_to(read_settings().home / "envs")
    ensure_secrets(read_settings(home))
    offset = stack.offset + 1
    environment = stack.environment | {
        "CAPIBARA6_HOME": str(home),
        "CAPIBARA6_PORT_OFFSET": str(offset),
        "CAPIBARA6_SANDBOX_UIDS": "61700",
        "CAPIBARA6_SANDBOX_POOL_SIZE": "1",
    }
    command = [str(environment_python(read_settings(), "sandbox")), "-m", "models_node.sandbox"]
    with (home / "log").open("ab") as log:
        process = subprocess.Popen(command, env=environment, cwd=REPOSITORY, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{GATEWAY + offset}"
    try:
        eventually(lambda: httpx.get(f"{url}/health/ready").status_code == 200, 120, "the second gateway is ready")
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)
        shutil.rmtree(home, ignore_errors=True)


@pytest.fixture(scope="module")
def api(stack: Installation, second_gateway: str) -> Iterator[httpx.Client]:
    """The chat API, started again with E2B's variables."""
    earlier = dict(stack.extra)
    stack.extra |= {"E2B_API_KEY": "any", "E2B_API_URL": second_gateway, "E2B_SANDBOX_URL": second_gateway}
    stack.stop("chat-api")
    stack.start_chat()
    with httpx.Client(base_url=stack.url("chat-api"), timeout=60) as client:
        yield client
    stack.extra.clear()
    stack.extra.update(earlier)
    stack.stop("chat-api")
    stack.start_chat()
    stack.wait_for_flows()


def test_a_csv_is_read_and_plotted_and_its_figure_downloaded(api: httpx.Client, stack: Installation) -> None:
    others = f"{stack.url('sandbox-gateway')}/watch"
    before = httpx.get(others).json()["created"]
    files = [{"name": "sales.csv", "content": "month,eur\n1,10\n2,20\n3,15\n"}]
    said = api.post("/api/code/run", json={"code": PLOT, "files": files}).json()
    assert said["error"] is None and said["stdout"] == "45\n", said
    (result,) = said["results"]
    assert result["chart"]["type"] == "bar" and result["chart"]["title"] == "Sales"
    figure = api.get(result["files"][0]["url"])
    assert figure.content.startswith(b"\x89PNG") and figure.headers["content-type"] == "image/png"
    assert httpx.get(others).json()["created"] == before


def test_a_conversations_variables_outlive_a_timeout_and_a_client_that_left(api: httpx.Client) -> None:
    conversation = api.post("/api/chat", json={"message": "hola"}).json()["conversation_id"]

    def run(code: str, **more: object) -> dict[str, object]:
        return api.post("/api/code/run", json={"code": code, "conversation_id": conversation, **more}).json()

    run("x = 41")
    late = run("import time; print('begun', flush=True); time.sleep(60)", timeout_seconds=2)
    assert late["stdout"] == "begun\n" and late["error"]["name"] == "ExecutionTimeout"  # type: ignore[index]
    code = {"code": "print('begun', flush=True); time.sleep(60)", "conversation_id": conversation}
    with api.stream("POST", "/api/code/run/stream", json=code) as reply:
        next(line for line in reply.iter_lines() if "begun" in line)
    assert run("print(x + 1)")["stdout"] == "42\n"
