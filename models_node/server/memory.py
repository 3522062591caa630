"""Memory that other services of the node hold of the models' budget: they say how much, again and again."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from models_node.server.client import ClientGone, while_connected
from models_node.server.state import Server
from wire.context import current
from wire.errors import Forbidden, InvalidRequest, ValidationFailed
from wire.principals import LOCAL

PREFIX = "/memory/"
HOLDERS = frozenset({"operator", "sandbox", LOCAL.name})
MOST_BYTES = 2**50  # beyond any machine: a slip of the caller, not a wish

router = APIRouter(prefix=PREFIX.rstrip("/"), tags=["memory"])
Holder = Annotated[str, Path(pattern=r"^[a-z][a-z0-9-]{0,31}$")]


class Holding(BaseModel):
    """What a holder says. bytes: all it holds, or wants to. in_use: it has taken them already."""

    model_config = ConfigDict(extra="forbid", strict=True)

    bytes: int = Field(ge=0, le=MOST_BYTES)
    in_use: bool = False
    ttl_seconds: float = Field(gt=0, allow_inf_nan=False)


@router.put("/holders/{holder}")
async def hold(holder: Holder, holding: Holding, server: Server, request: Request) -> dict[str, Any]:
    """A new size, or a sign of life. More is granted where there is room, or where idle models make room in a few
    seconds; else 503 `out_of_memory` with Retry-After, and what it held before stands.
    """
    holders_only()
    longest = server.settings.memory_hold_max_ttl_seconds
    if holding.ttl_seconds > longest:
        raise ValidationFailed(f"ttl_seconds: at most {longest:.0f}", param="ttl_seconds")
    wanted = server.pool.hold(holder, holding.bytes, in_use=holding.in_use, ttl_seconds=holding.ttl_seconds)
    try:
        free_bytes = await while_connected(request.receive, wanted)
    except ClientGone:
        raise InvalidRequest("the client went away before there was room", code="client_gone") from None
    return {"holder": holder, "bytes": holding.bytes, "free_bytes": free_bytes}


@router.delete("/holders/{holder}", status_code=204)
async def release(holder: Holder, server: Server) -> Response:
    """It holds nothing any more. Well with a holder nobody knows, too."""
    holders_only()
    server.pool.release(holder)
    return Response(status_code=204)


def holders_only() -> None:
    """Raises Forbidden for principals whose memory is not counted here."""
    if current().principal.name not in HOLDERS:
        raise Forbidden("only the node's own services and operators may hold its memory")
