"""The environment of everything that runs in the sandbox: the process's own, what its creator set, what a call sets."""

import os
from collections.abc import Mapping

from .errors import BadRequest


class Environment:
    """What `POST /init` set, for every later execution and command."""

    def __init__(self) -> None:
        self._set: dict[str, str] = {}

    def add(self, envs: Mapping[str, str]) -> None:
        """From now on these are set too."""
        self._set.update(envs)

    def for_code(self, envs: Mapping[str, str]) -> dict[str, str]:
        """What an execution sets on top of its kernel's environment."""
        return {**self._set, **envs}

    def for_command(self, envs: Mapping[str, str]) -> dict[str, str]:
        """A command's whole environment."""
        return {**os.environ, **self._set, **envs}


def checked(envs: object) -> dict[str, str]:
    """`envs` as names and texts; None is none. Raises BadRequest."""
    if envs is None:
        return {}
    if not isinstance(envs, Mapping):
        raise BadRequest("environment variables must be an object of names and texts")
    for name, value in envs.items():
        if not isinstance(name, str) or not isinstance(value, str):
            raise BadRequest(f"environment variable {name!r} must be a text")
        if not name or "=" in name or "\0" in name or "\0" in value:
            raise BadRequest(f"{name!r} cannot be an environment variable")
    return dict(envs)
