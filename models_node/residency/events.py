"""What the core is told and what it wants done: plain values, no behaviour.

`generation` counts a model's loads: an event about an engine that is no longer the present one is ignored. Tickets and
askers are numbers their owner gives; times are seconds of the owner's clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from models_node.errors import EngineFailed
from models_node.residency.decide import Priority
from wire.errors import ApiError

# Events


@dataclass(frozen=True, slots=True)
class Request:
    """Somebody wants a place in a model's engine."""

    ticket: int
    model: str
    priority: Priority = Priority.INTERACTIVE


@dataclass(frozen=True, slots=True)
class Finished:
    """The request behind the ticket is over, granted or not. well: it was answered, as far as the engine goes."""

    ticket: int
    well: bool = True


@dataclass(frozen=True, slots=True)
class Loaded:
    model: str
    generation: int
    can_sleep: bool = False


@dataclass(frozen=True, slots=True)
class Died:
    """The engine ended by itself, never became ready, or failed to sleep or wake: it has to be cleared away."""

    model: str
    generation: int
    failure: EngineFailed


@dataclass(frozen=True, slots=True)
class Gone:
    """None of its processes is left, and its memory is free."""

    model: str
    generation: int


@dataclass(frozen=True, slots=True)
class Stuck:
    """It was stopped, but is not seen to be gone. Whoever stops it goes on trying."""

    model: str
    generation: int
    words: str


@dataclass(frozen=True, slots=True)
class Slept:
    """left_bytes: of the budgeted memory, what the sleeping engine still holds. parked_bytes: main memory its weights
    sleep in."""

    model: str
    generation: int
    left_bytes: int
    parked_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Woken:
    model: str
    generation: int


@dataclass(frozen=True, slots=True)
class Measured:
    """private_bytes: the engine's own. shared_bytes: what all engines share with the process they come from."""

    model: str
    generation: int
    private_bytes: int
    shared_bytes: int


@dataclass(frozen=True, slots=True)
class Probed:
    """The end of the one-token probe that was sent at `sent_at`."""

    model: str
    generation: int
    answered: bool
    sent_at: float
    words: str = ""


@dataclass(frozen=True, slots=True)
class Unload:
    """An operator wants it out of memory. Work in flight is finished first."""

    model: str
    asker: int


@dataclass(frozen=True, slots=True)
class Hold:
    """Another service of the node holds so many bytes in all, or wants to. in_use: they are taken already. It counts
    as gone when it is not heard of again within `ttl_seconds`."""

    asker: int
    holder: str
    bytes_: int
    in_use: bool
    ttl_seconds: float


@dataclass(frozen=True, slots=True)
class HoldAbandoned:
    """Whoever sent the `Hold` does not wait for its answer any more."""

    asker: int


@dataclass(frozen=True, slots=True)
class HolderLeft:
    """It holds nothing any more, by its own word."""

    holder: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed. heard: when the present engine of each model last produced output."""

    heard: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CloseDoor:
    """No new requests, and those that wait are told so. What is in flight goes on."""


@dataclass(frozen=True, slots=True)
class Shutdown:
    """Everything is stopped."""


Event = (
    Request | Finished | Loaded | Died | Gone | Stuck | Slept | Woken | Measured | Probed | Unload | Hold
    | HoldAbandoned | HolderLeft | Tick | CloseDoor | Shutdown
)  # fmt: skip

# Effects


class Why(Enum):
    """Why an engine is stopped or put to sleep."""

    EVICTED = "evicted"
    IDLE = "idle"
    UNWANTED = "unwanted"  # nobody waits for its load any more
    ASKED = "asked"
    DIED = "died"
    WEDGED = "wedged"
    SHUTDOWN = "shutdown"


@dataclass(frozen=True, slots=True)
class Grant:
    """The ticket has its place. load_seconds: the part of its wait that was the engine's start; queue_seconds: the
    rest."""

    ticket: int
    model: str
    generation: int
    queue_seconds: float
    load_seconds: float


@dataclass(frozen=True, slots=True)
class Refuse:
    ticket: int
    error: ApiError


@dataclass(frozen=True, slots=True)
class Start:
    model: str
    generation: int


@dataclass(frozen=True, slots=True)
class Wake:
    model: str
    generation: int


@dataclass(frozen=True, slots=True)
class Sleep:
    """level: 1 keeps the weights in main memory, 2 drops them (vLLM's levels)."""

    model: str
    generation: int
    level: int
    why: Why


@dataclass(frozen=True, slots=True)
class Stop:
    model: str
    generation: int
    why: Why


@dataclass(frozen=True, slots=True)
class Measure:
    model: str
    generation: int


@dataclass(frozen=True, slots=True)
class Probe:
    model: str
    generation: int


@dataclass(frozen=True, slots=True)
class Unloaded:
    """Answers an `Unload`."""

    asker: int


@dataclass(frozen=True, slots=True)
class Held:
    """Answers a `Hold`: it is charged. free_bytes: what of the budget is free now; negative beyond it."""

    asker: int
    free_bytes: int


@dataclass(frozen=True, slots=True)
class HoldRefused:
    """Answers a `Hold`: what the holder had before, it has still."""

    asker: int
    error: ApiError


@dataclass(frozen=True, slots=True)
class HolderSilent:
    """Nothing was heard of it in time: what it held is free."""

    holder: str
    bytes_: int


Effect = Grant | Refuse | Start | Wake | Sleep | Stop | Measure | Probe | Unloaded | Held | HoldRefused | HolderSilent
