"""What the pool keeps, what it is told, and what it tells: plain values, no behaviour."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from models_node.catalogue import ModelEntry
from models_node.errors import EngineFailed
from models_node.residency.decide import State
from models_node.residency.engine import Engine


@dataclass(frozen=True, slots=True)
class PoolLimits:
    """budget_bytes: for all engines together. queue_limit: requests that may wait, over all models."""

    budget_bytes: int
    queue_limit: int
    queue_timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Lease:
    """A place in a model's engine. socket: None for a remote model. load_seconds: the part of the wait that was the
    engine's start; queue_seconds: the rest of it."""

    model: str
    socket: Path | None
    queue_seconds: float
    load_seconds: float


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model as the pool saw it when asked. last_used: seconds since then, None when never used."""

    model: str
    state: State
    remote: bool
    pid: int | None
    socket: Path | None
    memory_bytes: int
    in_flight: int
    waiting: int
    idle_seconds: float | None
    requests: int
    loads: int
    last_load_seconds: float | None
    mean_load_seconds: float | None
    last_error: str | None
    load_failure: str | None
    engine: Engine | None


class PoolEvents(Protocol):
    """What metrics and the proxy want to hear of; called by the pool's task, must not block."""

    def loaded(self, model: str, seconds: float) -> None: ...

    def load_failed(self, model: str) -> None: ...

    def evicted(self, model: str) -> None: ...

    def gone(self, model: str, socket: Path | None) -> None: ...


@dataclass(slots=True, eq=False)
class Ticket:
    """One request's claim on a model: queued, then granted, then released."""

    model: str
    order: int
    future: asyncio.Future[Lease]
    enqueued: float
    deadline: float


@dataclass(slots=True)
class Slot:
    entry: ModelEntry
    state: State = State.COLD
    generation: int = 0
    task: asyncio.Task[None] | None = None
    engine: Engine | None = None
    socket: Path | None = None
    in_flight: set[Ticket] = field(default_factory=set)
    waiting: dict[Ticket, None] = field(default_factory=dict)
    unloading: list[asyncio.Future[None]] = field(default_factory=list)
    last_used: float = 0.0
    load_started: float = 0.0
    load_ended: float = 0.0
    requests: int = 0
    loads: int = 0
    last_load_seconds: float | None = None
    load_seconds: float = 0.0
    last_error: str | None = None
    load_failure: str | None = None  # of the last load, until one goes well


# Messages to the pool's task.


@dataclass(frozen=True, slots=True)
class Acquire:
    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Release:
    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Unload:
    model: str
    done: asyncio.Future[None]


@dataclass(frozen=True, slots=True)
class Look:
    answer: asyncio.Future[tuple[ModelStatus, ...]]


@dataclass(frozen=True, slots=True)
class Ready:
    model: str
    generation: int
    engine: Engine


@dataclass(frozen=True, slots=True)
class Ended:
    model: str
    generation: int
    failure: EngineFailed


@dataclass(frozen=True, slots=True)
class Broken:
    """A reply, or none, said that the engine behind `socket` is dead; its process may take a second to say so too."""

    model: str
    socket: Path | None


@dataclass(frozen=True, slots=True)
class Gone:
    model: str
    generation: int


@dataclass(frozen=True, slots=True)
class Tick:
    pass


@dataclass(frozen=True, slots=True)
class Refuse:
    """No new requests, and those that wait are told so."""


@dataclass(frozen=True, slots=True)
class StopAll:
    pass


Message = Acquire | Release | Unload | Look | Ready | Ended | Broken | Gone | Tick | Refuse | StopAll
