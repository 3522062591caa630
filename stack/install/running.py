"""Installers as processes: with a log each, and none that goes on after the installation was stopped."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import IO

from stack.errors import InstallError
from stack.settings import REPOSITORY, Settings


class Installers:
    """The installer processes under way, so that an interrupted installation leaves none running."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._stopped = False

    def run(self, command: list[str], output: IO[bytes], environment: dict[str, str]) -> int:
        with self._lock:
            if self._stopped:
                raise InstallError("the installation was stopped", "run the same command again to go on")
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=REPOSITORY,
            )
            self._running.add(process)
        try:
            return process.wait()
        finally:
            self._running.discard(process)

    def stop(self) -> None:
        with self._lock:
            self._stopped = True
            for process in list(self._running):
                process.terminate()


installers = Installers()


def log_of(settings: Settings, name: str) -> Path:
    return settings.home / "logs" / f"install-{name}.log"


def logged(settings: Settings, name: str, command: list[str]) -> int:
    """Runs one installer with its output in the step's log. Returns its exit status."""
    log = log_of(settings, name)
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "UV_PYTHON_DOWNLOADS": "never"}
    environment |= {"CAPIBARA6_HOME": str(settings.home), "PYTHONPATH": str(REPOSITORY)}
    with log.open("ab") as output:
        output.write(f"$ {' '.join(command)}\n".encode())
        output.flush()
        return installers.run(command, output, environment)
