"""The operator's list of other MCP servers: a TOML file that names where each is, and never a key itself."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from typing import Annotated

from pydantic import AnyHttpUrl, BaseModel, ConfigDict, Field, SecretStr, StringConstraints, ValidationError

from stack.errors import ConfigurationError
from stack.settings import Settings

Variable = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*$")]
NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")


class ExternalServer(BaseModel):
    """One `[servers.NAME]` table. key_variable: of the environment, sent as `Authorization: Bearer`.

    allowed_tools: by the names its server gives them; `["*"]` for all. read_only: the operator knows that they change
    nothing; else they are taken for tools that do, whatever the server says.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: AnyHttpUrl
    key_variable: Variable | None = None
    allowed_tools: tuple[str, ...] = Field(min_length=1)
    timeout_seconds: float = Field(30, gt=0, le=600)
    read_only: bool = False

    def allows(self, tool: str) -> bool:
        return "*" in self.allowed_tools or tool in self.allowed_tools

    def key(self, environment: Mapping[str, str] = os.environ) -> SecretStr | None:
        """Raises ConfigurationError for a variable that is named and not set."""
        if self.key_variable is None:
            return None
        value = environment.get(self.key_variable)
        if not value:
            raise ConfigurationError(
                f"MCP server {self.url}: {self.key_variable} is not set",
                "set the variable where the service is started",
            )
        return SecretStr(value)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    servers: dict[str, ExternalServer] = Field(default_factory=dict)


def read_external_servers(settings: Settings) -> dict[str, ExternalServer]:
    """By name; empty where no file is set. Raises ConfigurationError that names file and field."""
    path = settings.mcp_servers
    if path is None:
        return {}
    try:
        content = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise ConfigurationError(
            f"MCP servers {path}: {error.strerror}", "set CAPIBARA6_MCP_SERVERS to a file"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"MCP servers {path}: {error}", "correct the file") from None
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(str(part) for part in one['loc'])}: {one['msg']}" for one in error.errors())
        raise ConfigurationError(f"MCP servers {path}: {faults}", "correct the file") from None
    for name in content.servers:
        if not NAME.fullmatch(name):
            raise ConfigurationError(
                f"MCP servers {path}: {name!r} is no name", "lowercase letters, digits and `-`, at most 31 characters"
            )
    return content.servers
