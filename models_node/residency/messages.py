"""What the pool gives to those who use it: plain values, and what it wants to be told to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from models_node.catalogue import ModelEntry
from models_node.residency.decide import State


@dataclass(frozen=True, slots=True)
class Lease:
    """A place in a model's engine. socket: None for a remote model. load_seconds: the part of the wait that was the
    engine's start; queue_seconds: the rest of it. heard: to be called whenever output came from the engine."""

    model: str
    socket: Path | None
    queue_seconds: float
    load_seconds: float
    heard: Callable[[], None]
    generation: int


@dataclass(frozen=True, slots=True)
class Progress:
    """What a request that waits for a model may be told; for display only. expected_seconds: what the load took
    before, None if that was never seen. ahead: requests that wait for the same model."""

    phase: Literal["queued", "loading", "waking", "ready"]
    elapsed_seconds: float
    expected_seconds: float | None
    ahead: int


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model as it is now. Bytes and seconds; None where nothing was measured, or it does not apply.

    estimated_bytes: what its next load reserves. charged_bytes: what the ledger holds for it. verified: the present
    engine has produced output. last_words: why the breaker is open. oldest_wait_seconds: 0 when nobody waits.
    """

    model: str
    state: State
    remote: bool
    pid: int | None
    socket: Path | None
    estimated_bytes: int
    measured_bytes: int | None
    charged_bytes: int
    in_flight: int
    in_flight_batch: int
    waiting: int
    waiting_batch: int
    oldest_wait_seconds: float
    idle_seconds: float | None
    requests: int
    loads: int
    wakes: int
    evictions: int
    last_load_seconds: float | None
    mean_load_seconds: float | None
    wait_seconds: float
    verified: bool
    wedged: bool
    draining: bool
    pinned: bool
    stuck: str | None
    last_error: str | None
    load_failure: str | None
    breaker_seconds: float
    last_words: str | None


@dataclass(frozen=True, slots=True)
class HolderStatus:
    """One that holds memory beside the engines. expires_seconds: it counts as gone unless it is heard of till then."""

    holder: str
    held_bytes: int
    expires_seconds: float


@dataclass(frozen=True, slots=True)
class LedgerStatus:
    """Bytes. held_bytes: all that is charged. shared_bytes: pages that all engines share with the process they come
    from."""

    budget_bytes: int
    held_bytes: int
    shared_bytes: int
    holders: tuple[HolderStatus, ...] = ()

    @property
    def free_bytes(self) -> int:
        return self.budget_bytes - self.held_bytes


class PoolEvents(Protocol):
    """What metrics and the proxy want to hear of; called by the pool's task, must not block."""

    def loaded(self, model: str, seconds: float) -> None: ...

    def load_failed(self, model: str) -> None: ...

    def evicted(self, model: str) -> None: ...

    def wedged(self, model: str) -> None: ...

    def gone(self, model: str, socket: Path | None) -> None:
        """socket: None when it had never become ready."""
        ...


class Prober(Protocol):
    async def probe(self, entry: ModelEntry, socket: Path) -> None:
        """Returns when the engine has produced one token; raises EngineFailed when it did not in time."""
        ...
