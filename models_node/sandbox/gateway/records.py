"""What is known of each sandbox, of each creation that waits, and of those that are gone."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


class State(Enum):
    WARMING = "warming"
    WARM = "warm"
    RUNNING = "running"  # claimed by a client
    DYING = "dying"


class Why(Enum):
    """Why a sandbox ended; the value is what clients are told."""

    KILLED = "it was killed"
    TIMEOUT = "its time was over"
    OUT_OF_MEMORY = "it ran out of memory (CAPIBARA6_SANDBOX_MEMORY_LIMIT_BYTES)"
    EXITED = "its processes ended"
    LAUNCH_FAILED = "it could not be made"
    ABANDONED = "its creator went away before it was there"
    SHUTDOWN = "the gateway was stopped"


@dataclass(frozen=True, slots=True)
class Claim:
    """What the creator asked for, and the tokens that open the sandbox. owner: a principal's name."""

    owner: str
    template: str
    metadata: dict[str, str]
    timeout_seconds: float
    egress: bool
    envd_token: str = field(repr=False)
    traffic_token: str = field(repr=False)
    internet_asked: bool | None = None


@dataclass(slots=True)
class Sandbox:
    """Times are of the monotonic clock; 0 means not yet."""

    id: str
    made_at: float
    state: State = State.WARMING
    claim: Claim | None = None
    started_at: float = 0.0
    ends_at: float = 0.0
    measured_bytes: int = 0
    why: Why | None = None
    killers: list[int] = field(default_factory=list)  # who wait for its end


@dataclass(frozen=True, slots=True)
class Waiting:
    ticket: int
    claim: Claim
    since: float


@dataclass(frozen=True, slots=True)
class Gone:
    owner: str
    why: Why
