"""`/api/mcp/…` for older clients: the team's REST, over the same tools and contexts."""

from __future__ import annotations

from fastapi import APIRouter

router = APIRouter(prefix="/api/mcp", tags=["mcp"])
