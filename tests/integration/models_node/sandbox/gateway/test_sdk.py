"""The real SDK, unmodified, against the gateway: the control plane, and what it makes of refusals."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
from e2b import (
    AuthenticationException,
    RateLimitException,
    SandboxException,
    SandboxNotFoundException,
    SandboxQuery,
    SandboxState,
    TimeoutException,
)
from e2b.connection_config import ConnectionConfig
from e2b.exceptions import ServiceBusyException
from e2b_code_interpreter import AsyncSandbox as AsyncInterpreter
from e2b_code_interpreter import Sandbox
from packaging.version import Version

from stack.settings import Settings
from tests.integration.models_node.sandbox.gateway.stand_ins import RunningGateway


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[RunningGateway]:
    with RunningGateway(Settings(home=tmp_path)) as running:
        yield running


def test_a_sandbox_is_made_found_listed_and_killed(gateway: RunningGateway) -> None:
    sandbox = Sandbox.create(metadata={"conversation": "a b&c"}, timeout=60, **gateway.sdk())
    info = sandbox.get_info()
    assert info.sandbox_id == sandbox.sandbox_id
    assert info.template_id == "code-interpreter-v1"
    assert info.metadata == {"conversation": "a b&c"}
    assert info.state is SandboxState.RUNNING
    assert 55 < (info.end_at - info.started_at).total_seconds() <= 60
    assert sandbox.is_running()
    found = Sandbox.list(query=SandboxQuery(metadata={"conversation": "a b&c"}), **gateway.sdk()).next_items()
    assert [each.sandbox_id for each in found] == [sandbox.sandbox_id]
    assert sandbox.kill()
    assert not sandbox.is_running()
    assert not sandbox.kill()
    with pytest.raises(SandboxNotFoundException):
        sandbox.get_info()
    assert Sandbox.list(**gateway.sdk()).next_items() == []


async def test_the_async_sdk_does_the_same(gateway: RunningGateway) -> None:
    sandbox = await AsyncInterpreter.create(envs={"NAME": "value"}, timeout=60, **gateway.sdk())
    assert gateway.agent(sandbox.sandbox_id).environment == {"NAME": "value"}
    assert await sandbox.is_running()
    again = await AsyncInterpreter.connect(sandbox.sandbox_id, timeout=600, **gateway.sdk())
    info = await again.get_info()
    assert 500 < (info.end_at - info.started_at).total_seconds() <= 601
    execution = await again.run_code("say hello")
    assert execution.text == "hello"
    assert [context.id for context in await again.list_code_contexts()] == ["default"]
    assert await again.kill()
    assert not await sandbox.is_running()


def test_connecting_never_shortens_a_life_and_set_timeout_may(gateway: RunningGateway) -> None:
    sandbox = Sandbox.create(timeout=500, **gateway.sdk())
    Sandbox.connect(sandbox.sandbox_id, timeout=10, **gateway.sdk())
    info = sandbox.get_info()
    assert (info.end_at - info.started_at).total_seconds() > 490
    sandbox.set_timeout(30)
    info = sandbox.get_info()
    assert (info.end_at - info.started_at).total_seconds() < 60


def test_lists_come_in_pages_newest_first(gateway: RunningGateway) -> None:
    made = [Sandbox.create(timeout=60, metadata={"n": str(n)}, **gateway.sdk()).sandbox_id for n in range(5)]
    pages = Sandbox.list(limit=2, **gateway.sdk())
    seen: list[str] = []
    while pages.has_next:
        page = pages.next_items()
        assert 0 < len(page) <= 2
        seen += [each.sandbox_id for each in page]
    assert seen == made[::-1]
    ascending = Sandbox.list(order="asc", **gateway.sdk()).next_items()
    assert [each.sandbox_id for each in ascending] == made
    paused = Sandbox.list(query=SandboxQuery(state=[SandboxState.PAUSED]), **gateway.sdk())
    assert paused.next_items() == []


def test_a_sandbox_ends_when_its_time_is_over(gateway: RunningGateway) -> None:
    sandbox = Sandbox.create(timeout=1, **gateway.sdk())
    gateway.until(lambda: sandbox.sandbox_id not in gateway.launcher.agents)
    assert not sandbox.is_running()
    with pytest.raises(SandboxNotFoundException):
        sandbox.set_timeout(60)
    told = httpx.get(f"{gateway.url}/sandboxes/{sandbox.sandbox_id}").json()
    assert told["code"] == 404
    assert "its time was over" in told["message"]


def test_metrics_are_measured(gateway: RunningGateway) -> None:
    sandbox = Sandbox.create(timeout=60, **gateway.sdk())
    metrics = sandbox.get_metrics()
    assert metrics[-1].mem_used == gateway.launcher.memory_bytes
    assert metrics[-1].mem_total == 2**30
    assert metrics[-1].cpu_used_pct > 0


def test_an_idempotency_key_gives_the_same_sandbox(gateway: RunningGateway) -> None:
    made = {Sandbox.create(timeout=60, idempotency_key="k-1", **gateway.sdk()).sandbox_id for _ in range(3)}
    assert len(made) == 1
    with pytest.raises(SandboxException, match="another request"):
        Sandbox.create(timeout=61, idempotency_key="k-1", **gateway.sdk())


@pytest.mark.parametrize("name", ["base", "code-interpreter-v1", "code-interpreter-v1:default"])
def test_known_templates_are_accepted(gateway: RunningGateway, name: str) -> None:
    assert Sandbox.create(name, timeout=60, **gateway.sdk()).is_running()


def test_what_is_not_offered_says_so(gateway: RunningGateway) -> None:
    with pytest.raises(SandboxException, match=r"404.*this gateway has base"):
        Sandbox.create("my-template", **gateway.sdk())
    sandbox = Sandbox.create(timeout=60, **gateway.sdk())
    with pytest.raises(SandboxException, match=r"501.*Pausing"):
        sandbox.pause()
    with pytest.raises(SandboxException, match=r"501.*Snapshots"):
        sandbox.create_snapshot()
    with pytest.raises(SandboxException, match=r"501.*autoPause"):
        Sandbox.create(lifecycle={"on_timeout": "pause"}, **gateway.sdk())
    with pytest.raises(SandboxException, match=r"501.*allowOut"):
        Sandbox.create(network={"allow_out": ["example.com"]}, **gateway.sdk())


def test_files_go_through(gateway: RunningGateway) -> None:
    sandbox = Sandbox.create(timeout=60, **gateway.sdk())
    content = bytes(range(256)) * 40_000  # more than any buffer on the way
    gateway.agent(sandbox.sandbox_id).files["/home/user/a.bin"] = content
    assert sandbox.files.read("/home/user/a.bin", format="bytes") == content
    sandbox.files.write("b.bin", content)
    assert content in gateway.agent(sandbox.sandbox_id).files["b.bin"]


def test_a_forged_token_is_refused(gateway: RunningGateway) -> None:
    sandbox = Sandbox.create(timeout=60, **gateway.sdk())
    other = Sandbox.create(timeout=60, **gateway.sdk())
    headers = {"E2b-Sandbox-Id": sandbox.sandbox_id, "E2b-Sandbox-Port": "49983"}
    for token in (other._envd_access_token, "", sandbox.traffic_access_token):
        reply = httpx.get(f"{gateway.url}/health", headers={**headers, "X-Access-Token": token or ""})
        assert reply.status_code == 401
        assert reply.json()["code"] == 401
    forged = Sandbox(
        sandbox_id=sandbox.sandbox_id,
        sandbox_domain=None,
        envd_version=Version("0.6.4"),
        envd_access_token="forged",
        traffic_access_token=other.traffic_access_token,
        connection_config=ConnectionConfig(
            extra_sandbox_headers={**headers, "X-Access-Token": "forged"}, **gateway.sdk()
        ),
    )
    with pytest.raises(AuthenticationException):
        forged.files.read("a")
    with pytest.raises(AuthenticationException):
        forged.commands.run("true")
    with pytest.raises(SandboxException, match=r"401|own token"):
        forged.run_code("say hello")


def test_commands_in_a_sandbox_that_is_gone_say_so(gateway: RunningGateway) -> None:
    sandbox = Sandbox.create(timeout=60, **gateway.sdk())
    gateway.do(gateway.launcher.die(sandbox.sandbox_id, "out_of_memory"))
    gateway.until(lambda: not sandbox.is_running())
    with pytest.raises(TimeoutException, match=r"not found.*out of memory"):  # what the SDK makes of it
        sandbox.commands.run("true")
    with pytest.raises(TimeoutException, match="not found"):
        sandbox.run_code("say hello")


def test_a_storm_of_creations_is_served_in_turn_or_refused_clearly(gateway: RunningGateway) -> None:
    gateway.launcher.launch_seconds = 0.02
    outcomes: list[str] = []
    lock = threading.Lock()

    def create(_: int) -> None:
        try:
            Sandbox.create(timeout=60, retries=0, **gateway.sdk())
            outcome = "made"
        except RateLimitException:
            outcome = "429"
        except ServiceBusyException:
            outcome = "503"
        with lock:
            outcomes.append(outcome)

    with ThreadPoolExecutor(200) as pool:
        storm = pool.map(create, range(200))
        began = time.monotonic()
        assert httpx.get(f"{gateway.url}/health/live", timeout=10).status_code == 200
        assert time.monotonic() - began < 5, "others are answered meanwhile"
        list(storm)
    assert len(outcomes) == 200
    assert outcomes.count("made") == 20
    assert gateway.launcher.most <= 20
    assert {"429", "503"} <= set(outcomes)
