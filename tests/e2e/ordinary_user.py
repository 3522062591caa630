"""A user made for the tests, who installs the stack in a home that is closed to others."""

from __future__ import annotations

import pwd
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.e2e.stack import Stack, copy_repository, remove

USER = "capibara6-e2e"


@dataclass(frozen=True, slots=True)
class OrdinaryUser:
    """install: `install` under way, without n8n. told: the file of what it says."""

    stack: Stack
    install: subprocess.Popen[str]
    told: Path


@contextmanager
def installing() -> Iterator[OrdinaryUser]:
    """A copy of the repository in their home (mode 0700), being installed; at the end user and home are removed."""
    subprocess.run(["useradd", "--create-home", "--shell", "/bin/sh", USER], check=True)
    home = Path(pwd.getpwnam(USER).pw_dir)
    home.chmod(0o700)
    root = home / "capibara6"
    copy_repository(root)
    subprocess.run(["chown", "-R", f"{USER}:", str(home)], check=True)
    prefix = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", "--no-new-privs")
    variables = {"HOME": str(home), "USER": USER, "LOGNAME": USER, "PATH": "/usr/local/bin:/usr/bin:/bin"}
    stack = Stack(root, 22_000, prefix, variables)
    with tempfile.NamedTemporaryFile("w", prefix="capibara6-e2e-") as told:
        smaller = replace(stack, variables={**variables, "CAPIBARA6_WITHOUT": "n8n"})
        install = smaller.popen("install", stdin=subprocess.DEVNULL, stdout=told, stderr=told)
        try:
            yield OrdinaryUser(stack, install, Path(told.name))
        finally:
            install.terminate()
            install.wait(60)
            stack.run("down")
            remove(home)
            subprocess.run(["userdel", "--remove", USER], check=False, capture_output=True)
