"""The same smoke for an ordinary user in a private home."""

from __future__ import annotations

import os
from dataclasses import replace

import httpx
import pytest
from e2b_code_interpreter import Sandbox

from tests.e2e.ordinary_user import USER, OrdinaryUser
from tests.e2e.stack import INSTALL_SECONDS, MODEL_SECONDS, SERVICES, START_SECONDS, Stack, eventually

as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


def code_runs_where_weakness_is_accepted_in_so_many_words(theirs: Stack) -> None:
    """Without root: one user for all sandboxes and no limits, but the same walls otherwise."""
    accepting = replace(theirs, variables={**theirs.variables, "CAPIBARA6_SANDBOX_ACCEPT": "one-uid,without-limits"})
    accepting.ok("restart", "sandbox-gateway")
    assert accepting.states()["sandbox-gateway"] == "ready"
    url = accepting.url("sandbox-gateway")
    sandbox = Sandbox.create(api_key="any", api_url=url, sandbox_url=url)
    assert sandbox.run_code("6 * 7").text == "42"
    assert "Seccomp:\t2" in sandbox.commands.run("cat /proc/self/status").stdout
    assert sandbox.commands.run("ls /home").stdout == "user\n"
    sandbox.kill()


@as_root
def test_an_ordinary_user_in_a_private_home(stack: Stack, ordinary_user: OrdinaryUser) -> None:
    """Beside the other stack, which stays up: two homes and port offsets on one machine do not meet."""
    theirs = ordinary_user.stack
    assert ordinary_user.install.wait(INSTALL_SECONDS) == 0, ordinary_user.told.read_text()
    up = theirs.ok("up", "--detach", "--without", "n8n", seconds=START_SECONDS)
    told = up.stdout + up.stderr
    assert theirs.url("chat-api") in told
    assert {process.username() for process in theirs.processes()} == {USER}
    expected = dict.fromkeys(SERVICES, "ready") | {"sandbox-gateway": "unavailable"}
    for left_out in ("n8n", "n8n-runner"):
        del expected[left_out]
    eventually(lambda: theirs.states() == expected, 120, "everything is ready but what needs root")
    assert "CAPIBARA6_SANDBOX_ACCEPT=one-uid" in told, "what is missing is said with its mend"
    refused = httpx.post(
        f"{theirs.url('sandbox-gateway')}/v2/sandboxes", json={"templateID": "base"}, headers={"x-api-key": "k"}
    )
    assert refused.status_code == 503
    assert "root" in refused.json()["message"]
    code_runs_where_weakness_is_accepted_in_so_many_words(theirs)
    answer = theirs.ok("chat", "--max-tokens", "8", "¿Cuál es la capital de Francia?", seconds=MODEL_SECONDS)
    assert answer.stdout.strip()
    assert (theirs.home / "secrets.json").stat().st_mode & 0o777 == 0o600
    theirs.ok("down")
    theirs.leaves_nothing()
    assert set(stack.states().values()) == {"ready"}
