"""What the ledger holds for the sandboxes, and what it is asked next: one question at a time.

The gateway holds the sum of max(admitted, measured) over its sandboxes, and its own memory and the template's. It asks
for more before a launch, and tells what was measured afterwards, as memory that is taken already.
"""

from __future__ import annotations

from collections.abc import Iterable

from models_node.sandbox.gateway.events import Hold
from models_node.sandbox.gateway.limits import LEDGER_RETRY_SECONDS
from models_node.sandbox.gateway.records import Sandbox


class Holding:
    """Bytes. held: what the ledger granted. dirty: what is used has changed since it was told."""

    def __init__(self, admitted_bytes: int, total_bytes: int) -> None:
        self.held = 0
        self.base_bytes = 0
        self.reachable = True
        self.refusal: str | None = None
        self.ask_after = 0.0
        self.dirty = False
        self._admitted = admitted_bytes
        self._total = total_bytes
        self._asking = False

    def charged(self, sandboxes: Iterable[Sandbox]) -> int:
        """What the sandboxes count for."""
        return sum(max(self._admitted, sandbox.measured_bytes) for sandbox in sandboxes)

    def room(self, sandboxes: Iterable[Sandbox]) -> bool:
        """Whether one more may be launched now."""
        wanted = self.charged(sandboxes) + self._admitted
        return wanted <= self._total and (not self.reachable or self.base_bytes + wanted <= self.held)

    def obstacle(self, sandboxes: Iterable[Sandbox]) -> str | None:
        """Why there is no room, in words; None when that was not heard of."""
        if self.charged(sandboxes) + self._admitted > self._total:
            return "the sandboxes use all memory they may have (CAPIBARA6_SANDBOX_TOTAL_MEMORY_BYTES)."
        return self.refusal

    def next(self, sandboxes: Iterable[Sandbox], now: float, *, grow: bool) -> Hold | None:
        """What the ledger is to be asked or told. grow: a launch waits for room."""
        if self._asking:
            return None
        known = tuple(sandboxes)
        charged = self.charged(known)
        wanted = charged + self._admitted
        lacking = grow and wanted <= self._total and self.base_bytes + wanted > self.held
        if lacking and self.reachable and now >= self.ask_after:
            self._asking = True
            return Hold(self.base_bytes + wanted, in_use=False)
        if not self.dirty:
            return None
        self._asking, self.dirty = True, False
        return Hold(self.base_bytes + charged, in_use=True)

    def measured(self, base_bytes: int) -> None:
        self.base_bytes = base_bytes
        self.dirty = True  # told even when nothing changed: a holding that is not renewed is dropped

    def granted(self, held: int) -> None:
        self.held = held
        self._asking, self.reachable, self.refusal = False, True, None

    def denied(self, words: str, now: float) -> None:
        self._asking, self.reachable, self.refusal = False, True, words
        self.ask_after = now + LEDGER_RETRY_SECONDS

    def away(self) -> None:
        """What it holds after its return is told anew, with what is measured then."""
        self._asking, self.reachable, self.held = False, False, 0
