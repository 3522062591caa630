"""Users and paths, as envd understands them: one user, `user`, and paths that start from its home."""

import base64
import binascii
import os
from dataclasses import dataclass
from pathlib import Path

from .errors import BadRequest, UnknownUser

USER = "user"


@dataclass(frozen=True, slots=True)
class Paths:
    """Where relative paths start."""

    home: Path

    def resolve(self, path: str) -> Path:
        """An absolute path, normalised. Empty and `~`: home. Raises BadRequest.

        What is reachable is what the sandbox's view and its user allow: the agent may see no more than user code does.
        """
        if "\0" in path:
            raise BadRequest("a path cannot hold a zero byte")
        if path == "~" or path.startswith("~/"):
            path = path[2:]
        return Path(os.path.normpath(self.home / path)) if path else self.home


def check_user(name: str) -> None:
    """Raises UnknownUser for anybody but `user`; an empty name is `user`."""
    if name not in ("", USER):
        raise UnknownUser(f"user {name!r} is not available: everything in this sandbox runs as {USER!r}")


def user_of(authorization: str) -> str:
    """The name in a `Basic` header as the SDK sends it, or an empty string. Raises UnknownUser."""
    scheme, _, value = authorization.partition(" ")
    if scheme.lower() != "basic":
        return ""
    try:
        return base64.b64decode(value, validate=True).decode("utf-8").partition(":")[0]
    except (binascii.Error, UnicodeDecodeError) as error:
        raise UnknownUser("the Authorization header is malformed") from error
