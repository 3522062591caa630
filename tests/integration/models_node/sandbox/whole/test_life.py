"""Ends: of the gateway, of the launcher, of a sandbox. What is cut off is cleaned up, and says so."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from e2b import NotFoundException, SandboxException
from e2b_code_interpreter import Sandbox

from tests.integration.models_node.sandbox.whole.conftest import Node, make_node
from tests.integration.models_node.sandbox.whole.waiting import until


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Node]:
    made = make_node(tmp_path, offset=21_500, variables={"CAPIBARA6_SANDBOX_UIDS": "62000"})
    made.start()
    try:
        yield made
    finally:
        made.stop()


def parents(node: Node) -> list[Path]:
    from stack.processes import stack_id
    from stack.settings import read_settings

    name = f"capibara6-{stack_id(read_settings(node.home))}"
    return list(Path("/sys/fs/cgroup").rglob(name))


def groups(node: Node) -> list[Path]:
    return [path for parent in parents(node) for path in parent.iterdir() if path.is_dir()]


def gateway_of(node: Node) -> int:
    """The gateway's process: the one of the node's first user that runs Python."""
    for pid in node.processes():
        command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        if b"models_node.sandbox.gateway" in command and Path(f"/proc/{pid}").stat().st_uid == 62_000:
            return pid
    raise AssertionError("there is no gateway")


def template_of(node: Node) -> int:
    """The oldest process of the template's user: what it has just forked is of that user until it is confined."""
    started = {}
    for pid in node.processes():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            if Path(f"/proc/{pid}").stat().st_uid == 62_001:
                after_the_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                started[pid] = int(after_the_name[19])  # starttime, proc_pid_stat(5)
    assert started, "there is no template"
    return min(started, key=lambda pid: started[pid])


@pytest.mark.parametrize("victim", ["gateway", "launcher"])
def test_a_killed_service_leaves_no_process_and_its_sandboxes_are_gone_for_good(own: Node, victim: str) -> None:
    sandbox = own.create(timeout=300)
    sandbox.run_code("import subprocess; p = subprocess.Popen(['sleep', '1000'], start_new_session=True)")
    assert own.process is not None
    os.kill(gateway_of(own) if victim == "gateway" else own.process.pid, signal.SIGKILL)
    own.process.wait(20)
    until(lambda: own.processes() == [], 10, lambda: str(own.processes()))
    own.start()
    assert [path for path in groups(own) if path.name == sandbox.sandbox_id] == []
    assert not sandbox.is_running()
    with pytest.raises((NotFoundException, SandboxException)):
        sandbox.run_code("1+1")
    with pytest.raises(NotFoundException):
        Sandbox.connect(sandbox.sandbox_id, **own.options())
    assert own.create().run_code("1+1").text == "2"


def test_a_stop_is_clean_and_quick_with_sandboxes_at_work(own: Node) -> None:
    sandbox = own.create(timeout=300)
    sandbox.commands.run("sleep 1000", background=True)
    own.stop()
    assert own.process is not None
    assert own.process.returncode == 0
    assert own.processes() == []
    assert groups(own) == []
    assert parents(own) == [], "not even the empty group that held them"


def test_a_sandbox_ends_at_its_time_and_says_so(own: Node) -> None:
    sandbox = own.create(timeout=300)
    sandbox.set_timeout(1)
    until(lambda: not sandbox.is_running(), 15)
    with pytest.raises((NotFoundException, SandboxException)):
        sandbox.run_code("1")
    until(lambda: not [path for path in groups(own) if path.name == sandbox.sandbox_id], 10)


def test_the_gateway_has_no_privileges_and_sees_no_keys_but_its_own(own: Node) -> None:
    pid = gateway_of(own)
    status = Path(f"/proc/{pid}/status").read_text()
    assert "Uid:\t62000\t62000\t62000\t62000" in status
    assert "CapEff:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    root = Path(f"/proc/{pid}/root")
    assert not (root / str(own.home).lstrip("/")).exists()
    environment = Path(f"/proc/{pid}/environ").read_bytes()
    assert b"SECRET" not in environment
    ours = (own.home / "secrets.json").read_text()
    theirs = (root / "run/capibara6/secrets.json").read_text()
    import json

    mine, shown = json.loads(ours), json.loads(theirs)
    assert {name for name in mine if mine[name] == shown[name]} == {"sandbox_key", "services_key", "operator_key"}


def test_a_template_that_dies_takes_its_sandboxes_along_and_another_takes_its_place(own: Node) -> None:
    sandbox = own.create(timeout=300)
    os.kill(template_of(own), signal.SIGKILL)
    until(lambda: not sandbox.is_running(), 20)
    until(own.ready, 60)
    assert own.create().run_code("1+1").text == "2"


WITHOUT_CGROUPS = 'for m in $(findmnt -rno TARGET -t cgroup,cgroup2 | sort -r); do umount -l $m; done; exec "$@"'


def test_a_machine_without_cgroups_says_so_by_a_gateway_without_privileges(tmp_path: Path) -> None:
    """It once ran as root, with every key, to say that nothing can be had."""
    node = make_node(tmp_path, offset=21_700, variables={"CAPIBARA6_SANDBOX_UIDS": "62000"})
    node.prefix = ("unshare", "--mount", "sh", "-c", WITHOUT_CGROUPS, "sh")
    node.variables |= {"CAPIBARA6_SECRET_OPERATOR_KEY": "s3cret", "CAPIBARA6_DATABASE_URL": "postgresql://x/y"}
    node.begin()
    try:
        until(lambda: unavailable(node) is not None, 60, lambda: (node.home / "log").read_text()[-2000:])
        told = unavailable(node)
        assert told is not None
        assert "cgroups" in told["reason"]
        assert "CAPIBARA6_SANDBOX_ACCEPT=without-limits" in told["mend"]
        pid = gateway_of(node)
        assert "Uid:\t62000\t62000\t62000\t62000" in Path(f"/proc/{pid}/status").read_text()
        environment = Path(f"/proc/{pid}/environ").read_bytes()
        assert b"s3cret" not in environment
        assert b"postgresql" not in environment
        asked = {"json": {"templateID": "base"}, "headers": {"x-api-key": "k"}, "trust_env": False}
        refused = httpx.post(f"{node.url}/v2/sandboxes", **asked)  # type: ignore[arg-type]
        assert refused.status_code == 503
        assert "cgroups" in refused.json()["message"]
    finally:
        node.stop()


def unavailable(node: Node) -> dict[str, str] | None:
    try:
        reply = httpx.get(f"{node.url}/health/ready", trust_env=False)
    except httpx.HTTPError:
        return None
    content: dict[str, str] = reply.json()
    return content if content["status"] == "unavailable" else None
