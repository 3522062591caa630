"""What clients of the control plane may ask for, checked. What E2B offers and this gateway does not is refused here."""

from __future__ import annotations

import json
import re
import secrets
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from models_node.sandbox.errors import not_offered, unknown_template
from models_node.sandbox.gateway.records import Claim
from stack.settings import Settings
from wire.errors import InvalidRequest

TEMPLATES = ("base", "code-interpreter-v1")
ALL_TRAFFIC = frozenset({"0.0.0.0/0", "::/0"})
ENTRIES = 128
TEXT_BYTES = 64 * 2**10  # of metadata, and of environment variables, together
BODY_BYTES = 256 * 2**10  # of a request; JSON that is looked at whole holds up every other client meanwhile
LONGEST_SECONDS = 10**9  # that can be asked for; what is given is less
NAME_CHARS = 128  # of a field's name, in an error
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")

Model = TypeVar("Model", bound=BaseModel)
Text = Annotated[str, StringConstraints(max_length=32 * 2**10)]


class Lenient(BaseModel):
    """Fields that are not known are a newer client's, and not looked at."""

    model_config = ConfigDict(extra="ignore", frozen=True)


class Network(Lenient):
    allow_public_traffic: bool | None = Field(None, alias="allowPublicTraffic")
    allow_out: list[str] | None = Field(None, alias="allowOut")
    deny_out: list[str] | None = Field(None, alias="denyOut")
    egress_proxy: Any = Field(None, alias="egressProxy")
    mask_request_host: str | None = Field(None, alias="maskRequestHost")
    https_ports: list[int] | None = Field(None, alias="httpsPorts")
    rules: Any = None


class AutoResume(Lenient):
    enabled: bool = False


class NewSandbox(Lenient):
    template: str = Field(alias="templateID", max_length=128)
    timeout: int | None = Field(None, ge=0, le=LONGEST_SECONDS)
    metadata: dict[str, Text] | None = None
    variables: dict[str, Text] | None = Field(None, alias="envVars")
    auto_pause: bool | None = Field(None, alias="autoPause")
    auto_resume: AutoResume | None = Field(None, alias="autoResume")
    allow_internet_access: bool | None = None
    network: Network | None = None
    mcp: Any = None
    iam: Any = None
    volume_mounts: list[Any] | None = Field(None, alias="volumeMounts")


class Timeout(Lenient):
    timeout: int = Field(ge=0, le=LONGEST_SECONDS)


class Refresh(Lenient):
    duration: int = Field(300, ge=0, le=LONGEST_SECONDS)


class Connect(Lenient):
    timeout: int = Field(300, ge=0, le=LONGEST_SECONDS)


def template_of(name: str) -> str:
    """The template's plain name. Clients may say it with the default tag. Raises NotFound."""
    plain = name.strip().lower()
    for tag in (":default", ":latest"):
        plain = plain.removesuffix(tag)
    if plain not in TEMPLATES:
        raise unknown_template(name, TEMPLATES)
    return plain


def claim_of(asked: NewSandbox, owner: str, settings: Settings, *, egress: bool) -> Claim:
    """What a creation asks for, with tokens of its own. egress: whether any host may be reached at all.

    Raises ApiError for what is not offered, or does not fit.
    """
    for wanted, what in (
        (asked.auto_pause, "Pausing a sandbox when its time is over (autoPause)"),
        (asked.auto_resume is not None and asked.auto_resume.enabled, "Resuming by traffic (autoResume)"),
        (asked.mcp, "MCP servers in a sandbox (mcp)"),
        (asked.iam, "Workload identity (iam)"),
        (asked.volume_mounts, "Volumes (volumeMounts)"),
    ):
        if wanted:
            raise not_offered(what)
    metadata = checked_metadata(asked.metadata or {})
    closed = asked.allow_internet_access is False or _closed_network(asked.network)
    timeout = settings.sandbox_timeout_seconds if asked.timeout is None else float(asked.timeout)
    return Claim(
        owner=owner,
        template=template_of(asked.template),
        metadata=metadata,
        timeout_seconds=min(timeout, settings.sandbox_max_timeout_seconds),
        egress=egress and not closed,
        envd_token=secrets.token_urlsafe(32),
        traffic_token=secrets.token_urlsafe(32),
        internet_asked=asked.allow_internet_access,
    )


def checked_metadata(metadata: dict[str, str]) -> dict[str, str]:
    _bounded(metadata, "metadata")
    return metadata


def checked_variables(variables: dict[str, str]) -> dict[str, str]:
    """Raises InvalidRequest for a name that is none."""
    _bounded(variables, "envVars")
    for name, value in variables.items():
        if not VARIABLE.fullmatch(name) or "\0" in value:
            raise InvalidRequest(f"envVars: {name[:64]!r} is no environment variable.", param="envVars")
    return variables


def parsed(model: type[Model], body: bytes) -> Model:
    """A body as its model. Raises InvalidRequest that names the field."""
    try:
        return model.model_validate_json(body or b"{}")
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        name = ".".join(str(part) for part in first["loc"])[:NAME_CHARS] or "body"
        raise InvalidRequest(f"{name}: {first['msg']}", param=name) from None


def _closed_network(network: Network | None) -> bool:
    """Whether everything is denied. Raises ApiError for finer wishes: the operator's list is the only one."""
    if network is None:
        return False
    for wanted, what in (
        (network.allow_public_traffic, "Traffic without the sandbox's token (allowPublicTraffic)"),
        (network.allow_out, "Destinations of a sandbox's own (allowOut)"),
        (network.egress_proxy, "A proxy of a sandbox's own (egressProxy)"),
        (network.mask_request_host, "maskRequestHost"),
        (network.https_ports, "Ports of a sandbox (httpsPorts)"),
        (network.rules, "Rules for requests (rules)"),
        (set(network.deny_out or ()) - ALL_TRAFFIC, "Denied destinations other than all of them (denyOut)"),
    ):
        if wanted:
            raise not_offered(what)
    return bool(network.deny_out)


def _bounded(entries: dict[str, str], name: str) -> None:
    if len(entries) > ENTRIES or len(json.dumps(entries)) > TEXT_BYTES:
        raise InvalidRequest(f"{name}: more than {ENTRIES} entries or {TEXT_BYTES} bytes.", param=name)
