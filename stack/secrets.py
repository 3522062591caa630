"""Secrets: made at the first start, in a file only its owner can read, never printed by default, never logged."""

from __future__ import annotations

import json
import os
import secrets as random
import stat
from pathlib import Path

from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from stack.errors import ConfigurationError
from stack.settings import Settings

FILE_NAME = "secrets.json"


class Secrets(BaseModel):
    """Keys of programs (principals), the database's password, and what webhooks' secrets are made of (`hooks_key`).

    `CAPIBARA6_SECRET_<NAME>` in the environment goes before the file: three machines share the keys that cross nodes.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    database_password: SecretStr
    frontend_key: SecretStr
    hooks_key: SecretStr
    n8n_encryption_key: SecretStr
    n8n_key: SecretStr
    n8n_owner_password: SecretStr
    n8n_runner_token: SecretStr
    operator_key: SecretStr
    sandbox_key: SecretStr
    services_key: SecretStr


def secrets_path(settings: Settings) -> Path:
    return settings.home / FILE_NAME


def _from_environment() -> dict[str, str]:
    names = {name: f"CAPIBARA6_SECRET_{name.upper()}" for name in Secrets.model_fields}
    return {name: os.environ[variable] for name, variable in names.items() if os.environ.get(variable)}


def ensure_secrets(settings: Settings) -> Secrets:
    """Reads the secrets file, first adding (or making) whatever is missing. Mode 0600 from its first byte on."""
    path = secrets_path(settings)
    known: dict[str, str] = _read(path) if path.exists() else {}
    missing = [name for name in Secrets.model_fields if name not in known]
    if missing:
        known |= {name: random.token_urlsafe(32) for name in missing}
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{FILE_NAME}.{os.getpid()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(known, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    return load_secrets(settings)


def load_secrets(settings: Settings) -> Secrets:
    """The secrets of this installation.

    Raises ConfigurationError when the file is missing, wrong or readable by others.
    """
    path = secrets_path(settings)
    try:
        return Secrets.model_validate(_read(path) | _from_environment())
    except ValidationError as error:
        fields = ", ".join(str(e["loc"][0]) for e in error.errors())
        raise ConfigurationError(f"secrets {path}: missing or wrong: {fields}", "run ./capibara6 up once") from None


def _read(path: Path) -> dict[str, str]:
    try:
        mode = path.stat().st_mode
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigurationError(f"secrets {path}: {error.strerror}", "make it readable for the stack's user") from None
    except ValueError:
        raise ConfigurationError(f"secrets {path}: not JSON", "restore it, or remove it to make new ones") from None
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigurationError(f"secrets {path}: other users can read it", f"chmod 600 {path}")
    if not isinstance(content, dict):
        raise ConfigurationError(f"secrets {path}: not a JSON object", "restore it, or remove it to make new ones")
    return content
