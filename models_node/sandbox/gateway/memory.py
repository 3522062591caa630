"""Memory asked from the node's ledger, which the models share."""

from __future__ import annotations

from typing import Protocol

HOLDER = "sandboxes"


class NodeMemory(Protocol):
    """The ledger's client. Both raise ApiError: 503 `out_of_memory` is a refusal, any other means it can't be asked."""

    async def hold(self, holder: str, bytes_: int, *, in_use: bool, ttl_seconds: float) -> None: ...

    async def release(self, holder: str) -> None: ...


class NoLedger:
    """Where no model server shares this machine: the sandboxes' own limit is the only one."""

    async def hold(self, holder: str, bytes_: int, *, in_use: bool, ttl_seconds: float) -> None:
        return None

    async def release(self, holder: str) -> None:
        return None
