"""Where an installation keeps things. Everything is under `CAPIBARA6_HOME` but sockets whose path would be too long."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from stack.processes import stack_id
from stack.settings import Settings

LONGEST_SOCKET_NAME = 58  # engines/<model>-<n>/<uuid>, as vLLM names its own
N8N_OWNER = "owner@capibara6.local"  # who signs in to n8n
UNIX_PATH_LIMIT = 107  # sun_path of sockaddr_un, less its terminator


def run_directory(settings: Settings) -> Path:
    """Where sockets and pid files live, made with mode 0700. Under the home unless unix socket paths would not fit."""
    directory = settings.home / "run"
    if len(os.fsencode(directory)) + 1 + LONGEST_SOCKET_NAME > UNIX_PATH_LIMIT:
        directory = Path(tempfile.gettempdir()) / f"capibara6-{os.getuid()}-{stack_id(settings)}"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if directory.stat().st_uid != os.getuid() or directory.is_symlink():
        raise PermissionError(f"{directory} belongs to somebody else")
    directory.chmod(0o700)
    return directory


def log_directory(settings: Settings) -> Path:
    directory = settings.home / "logs"
    directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    return directory


def service_log(settings: Settings, service: str) -> Path:
    return log_directory(settings) / f"{service}.log"


def n8n_directory(settings: Settings) -> Path:
    """What is n8n's: its packages, its files, and the key of its API."""
    return settings.home / "n8n"


def n8n_tools_directory(settings: Settings) -> Path:
    """What our nodes for n8n are built and tested with by who works on them."""
    return settings.home / "n8n-dev"


def n8n_api_key_path(settings: Settings) -> Path:
    return n8n_directory(settings) / "api-key"


def speech_directory(settings: Settings) -> Path:
    """Where engines of speech find their weights: a folder each, of the engine's name."""
    return settings.home / "tts"
