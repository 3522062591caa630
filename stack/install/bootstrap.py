"""The first environment, made by the launcher with nothing but the standard library."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from contextlib import AbstractContextManager
from pathlib import Path

from stack.install.fingerprint import fingerprint, is_complete, mark_complete
from stack.install.locking import exclusive
from stack.install.report import long_step, say

# For a Python without ensurepip (Debian's, unless python3-venv is installed) pip itself comes from the index.
PIP_VERSION = "26.3"
PIP_SHA256 = "f3b60b20ffaadd4415ed7957212a38ac63fa4c5fa375bd0f4a797777940fad13"
STACK_DISK_BYTES = 200 * 2**20


class BootstrapError(Exception):
    """What failed and how to mend it, in a line or two."""


def ensure_stack_environment(repository: Path, home: Path) -> Path:
    """The `stack` environment's python, made first when it is missing or its lock has changed."""
    directory = home / "envs" / "stack"
    lock = repository / "requirements" / "stack.lock"
    python = directory / "bin" / "python"
    wanted = fingerprint(lock)
    if is_complete(directory, wanted):
        return python
    _writable(home)
    with install_lock(home):
        if not is_complete(directory, wanted):
            say(f"Capibara6: preparing {home}")
            with long_step("environment stack (supervision and this command line)"):
                _make(directory, lock)
            mark_complete(directory, wanted)
    return python


def install_lock(home: Path) -> AbstractContextManager[None]:
    """One installation of a home at a time; a second one waits and says so."""
    return exclusive(home / ".install.lock", "another capibara6 is installing here")


def _writable(home: Path) -> None:
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
        free = shutil.disk_usage(home).free
    except OSError as error:
        raise BootstrapError(
            f"cannot write to {home}: {error.strerror}\nmend it, or put everything elsewhere: CAPIBARA6_HOME=/path"
        ) from None
    if free < STACK_DISK_BYTES:
        raise BootstrapError(
            f"no disk space: {home} has {free >> 20} MiB free and this step needs {STACK_DISK_BYTES >> 20} MiB"
        )


def _make(directory: Path, lock: Path) -> None:
    log = directory.parent.parent / "logs" / "install-stack.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        shutil.rmtree(directory, ignore_errors=True)
        _run([sys.executable, "-m", "venv", "--without-pip", str(directory)], output)
        python = directory / "bin" / "python"
        pip = _pip(python, directory, output)
        requirements = ["--no-deps", "--require-hashes", "--only-binary", ":all:", "--no-compile", "-r", str(lock)]
        _run([*pip, "install", "--disable-pip-version-check", "--no-input", "--retries", "2", *requirements], output)


def _pip(python: Path, directory: Path, output: object) -> list[str]:
    """A pip that installs into the new environment: its own if Python ships one, else the pinned wheel."""
    if importlib.util.find_spec("ensurepip"):
        _run([str(python), "-m", "ensurepip", "--default-pip"], output)
        return [str(python), "-m", "pip"]
    wheel = directory / f"pip-{PIP_VERSION}-py3-none-any.whl"
    _download_pip(wheel)
    run_from_wheel = [str(python), str(wheel / "pip")]  # a wheel is a zip that Python can run
    _run([*run_from_wheel, "install", "--no-index", "--no-deps", "--no-cache-dir", str(wheel)], output)
    return [str(python), "-m", "pip"]


def _download_pip(target: Path) -> None:
    index = os.environ.get("PIP_INDEX_URL", "https://pypi.org/simple").rstrip("/")
    request = urllib.request.Request(f"{index}/pip/", headers={"Accept": "application/vnd.pypi.simple.v1+json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as reply:
            files = json.load(reply)["files"]
        address = next(file["url"] for file in files if file["hashes"].get("sha256") == PIP_SHA256)
        with urllib.request.urlopen(urllib.parse.urljoin(f"{index}/pip/", address), timeout=120) as reply:
            content = reply.read()
    except (urllib.error.URLError, OSError, ValueError, KeyError, StopIteration) as error:
        raise BootstrapError(
            f"this Python has no ensurepip, and pip could not be fetched from {index}: {error}\n"
            "install python3-venv, or connect this machine to the package index"
        ) from None
    if hashlib.sha256(content).hexdigest() != PIP_SHA256:
        raise BootstrapError("the pip that was fetched is not the pinned one: nothing was installed")
    target.write_bytes(content)


def _run(command: list[str], output: object) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, check=False)  # type: ignore[call-overload]
    if done.returncode != 0:
        log = Path(getattr(output, "name", ""))
        raise BootstrapError(f"{explain(log)}\nall of it: {log}; run the same command again to go on")


def explain(log: Path) -> str:
    """The line of an installer's log that says what went wrong, in plain words where the cause is a common one."""
    lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines()[-60:] if line.strip()]
    text = "\n".join(lines).lower()
    if "no space left" in text:
        return "no disk space left: free some, or put everything elsewhere with CAPIBARA6_HOME=/path"
    signs = ("name resolution", "failed to establish", "connection refused", "network is unreachable", "timed out",
             "dns error", "error sending request", "could not connect", "connect error")  # fmt: skip
    if any(sign in text for sign in signs):
        return "the package index cannot be reached: connect this machine (or set PIP_INDEX_URL to your mirror)"
    faults = [line for line in lines if line.lower().lstrip().startswith(("error", "×", "fatal", "fatal:"))]
    return (faults or lines or ["it failed without a word"])[-1].strip()
