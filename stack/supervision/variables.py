"""What a start was told, kept for the starts that follow: a supervised service is started again by a supervisor whose
own environment may be older than the last `up` or `restart`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from stack.install.locking import exclusive
from stack.paths import run_directory
from stack.processes import SERVICE, STACK_ID
from stack.settings import Settings

# E2B_: which endpoint sandboxes are had from is said by E2B's own variables alone. OTEL_: so is where spans go.
PREFIXES = ("CAPIBARA6_", "E2B_", "OTEL_")
_OWN = {STACK_ID, SERVICE}


def keep_variables(settings: Settings) -> None:
    """Writes this command's variables of the stack down (mode 0600: a database URL has a password)."""
    kept = {name: value for name, value in os.environ.items() if name.startswith(PREFIXES) and name not in _OWN}
    path = _path(settings)
    temporary = path.with_suffix(".new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        json.dump(kept, file)
    temporary.replace(path)


def with_kept_variables(environment: Mapping[str, str], settings: Settings) -> dict[str, str]:
    """An environment whose variables of the stack are the kept ones."""
    try:
        kept: dict[str, str] = json.loads(_path(settings).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return dict(environment)
    return {name: value for name, value in environment.items() if not name.startswith(PREFIXES) or name in _OWN} | kept


def lifecycle_lock(settings: Settings) -> AbstractContextManager[None]:
    """One `up`, `down` or `restart` of a home at a time; a second one waits and says so."""
    return exclusive(settings.home / ".lifecycle.lock", "another capibara6 command starts or stops this stack")


def _path(settings: Settings) -> Path:
    return run_directory(settings) / "variables.json"
