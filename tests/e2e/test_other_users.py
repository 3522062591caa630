"""The same smoke for an ordinary user in a private home."""

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
as_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")


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
