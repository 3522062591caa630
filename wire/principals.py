"""Programs and people that call a service, known by their keys."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from dataclasses import dataclass

from stack.secrets import Secrets


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks. `name` is what conversations, runs and files are owned by."""

    name: str


LOCAL = Principal("local")  # profile `local` on loopback: one user, no login
ANONYMOUS = Principal("anonymous")  # asked for no key


class KeyRing:
    """Keys to principals, compared in constant time."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = [(name, key.encode()) for name, key in keys.items()]

    @classmethod
    def of(cls, secrets: Secrets, allowed: set[str]) -> KeyRing:
        """The programs' keys among `allowed` (of frontend, n8n, operator, sandbox, services)."""
        keys = {name: getattr(secrets, f"{name}_key").get_secret_value() for name in sorted(allowed)}
        return cls(keys)

    def principal(self, key: str) -> Principal | None:
        """None for a key nobody has. Every key is compared, so that time tells nothing."""
        found: Principal | None = None
        for name, known in self._keys:
            if hmac.compare_digest(known, key.encode()):
                found = Principal(name)
        return found
