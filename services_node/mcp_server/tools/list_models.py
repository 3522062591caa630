"""`list_models`: who can answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

from services_node.mcp_server.asking import asking
from services_node.mcp_server.registry import Call, Registry

registry = Registry()


class ModelTold(BaseModel):
    """A model of this installation."""

    id: str
    status: str | None = Field(None, description="Whether it is in memory now.")
    about: dict[str, Any] = Field(default_factory=dict, description="What else is known of it.")


class Models(BaseModel):
    """The models of this installation."""

    models: list[ModelTold]

    def text(self) -> str:
        return "\n".join(_line(one) for one in self.models) or "No model is installed."


@registry.tool(
    title="List models",
    read_only=True,
    idempotent=True,
    timeout_seconds=15,
    cost="cheap",
    examples=(("Which models do you have?", {}),),
    keywords={
        "es": ("modelo", "modelos", "disponibles", "instalados", "ia", "llm"),
        "en": ("model", "models", "available", "installed", "ai", "llm"),
    },
)
async def list_models(*, call: Call) -> Models:
    """Lists the language models of this installation, what they are for and whether they are loaded."""
    with asking("list of models"):
        return models_told(await call.parts.assistant.models())


def models_told(entries: list[dict[str, Any]]) -> Models:
    """From the entries of `/v1/models`."""
    known = {"id", "object", "created", "owned_by", "status", "permission", "root", "parent"}
    return Models(
        models=[
            ModelTold(
                id=str(one.get("id")),
                status=str(one["status"]) if one.get("status") is not None else None,
                about={name: value for name, value in one.items() if name not in known and value is not None},
            )
            for one in entries
        ]
    )


def _line(one: ModelTold) -> str:
    about = "; ".join(f"{name.replace('_', ' ')}: {_told(value)}" for name, value in one.about.items())
    return f"- {one.id}" + (f" ({one.status})" if one.status else "") + (f": {about}" if about else "")


def _told(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(
            str(name) if given is True else f"{name} {given}"
            for name, given in value.items()
            if given not in (False, None)
        )
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
