"""The same smoke for an ordinary user in a private home, and with the network unplugged."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.stack import INSTALL_SECONDS, MODEL_SECONDS, Stack, copy_repository

USER = "capibara6-e2e"
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user, or unplug a network")


@pytest.fixture
def ordinary_user() -> Iterator[Stack]:
    """A copy of the repository in the home (mode 0700) of a user made for this test."""
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", USER], check=True)
    home = Path(pwd.getpwnam(USER).pw_dir)
    home.chmod(0o700)
    root = home / "capibara6"
    copy_repository(root)
    subprocess.run(["chown", "-R", f"{USER}:", str(home)], check=True)
    prefix = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "--no-new-privs")
    variables = {"HOME": str(home), "USER": USER, "LOGNAME": USER, "PATH": "/usr/local/bin:/usr/bin:/bin"}
    stack = Stack(root, 22_000, prefix, variables)
    try:
        yield stack
    finally:
        stack.run("down")
        subprocess.run(["userdel", "--remove", USER], check=False, capture_output=True)
        shutil.rmtree(home, ignore_errors=True)


@as_root
def test_an_ordinary_user_in_a_private_home(installed: Stack, ordinary_user: Stack) -> None:
    """Beside the other stack, which stays up: two homes and port offsets on one machine do not meet."""
    installed.ok("up", "--detach", seconds=300)
    stack = ordinary_user
    done = stack.ok("up", "--detach", seconds=INSTALL_SECONDS)
    assert stack.url("chat-api") in done.stdout
    assert {process.username() for process in stack.processes()} == {USER}
    answer = stack.ok("chat", "--max-tokens", "8", "¿Cuál es la capital de Francia?", seconds=MODEL_SECONDS)
    assert answer.stdout.strip()
    assert (stack.home / "secrets.json").stat().st_mode & 0o777 == 0o600
    stack.ok("down")
    stack.leaves_nothing()
    assert set(installed.states().values()) == {"ready"}


UNPLUGGED = {
    "every service is ready": "./capibara6 status",
    "a model is loaded and answers": './capibara6 chat --max-tokens 8 "Hola"',
}


@as_root
@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, id=told, marks=[pytest.mark.full] if "chat" in command else [])
        for told, command in UNPLUGGED.items()
    ],
)
def test_after_installation_everything_starts_with_the_network_unplugged(installed: Stack, command: str) -> None:
    installed.ok("down")
    loopback_only = ("unshare", "--net", "python3", str(installed.root / "tests" / "e2e" / "loopback_only.py"))
    unplugged = Stack(installed.root, installed.port_offset, loopback_only)
    script = f"./capibara6 up --detach && {command}; status=$?; ./capibara6 down; exit $status"
    done = subprocess.run(
        [*unplugged.prefix, "sh", "-c", script], cwd=unplugged.root, env=unplugged.environment(), capture_output=True,
        text=True, timeout=MODEL_SECONDS + 120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    assert ("model phi4_fast" in done.stderr) if "chat" in command else ("chat-api" in done.stdout)
