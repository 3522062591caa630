"""What may happen to the core, and what it wants done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from models_node.sandbox.gateway.records import Claim, Why
from wire.errors import ApiError

# Events


@dataclass(frozen=True, slots=True)
class Create:
    """Somebody wants a sandbox."""

    ticket: int
    claim: Claim


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Nobody waits for this ticket any more."""

    ticket: int


@dataclass(frozen=True, slots=True)
class Ready:
    """A launch came to a good end: the agent answers."""

    sandbox_id: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A launch did not."""

    sandbox_id: str
    words: str


@dataclass(frozen=True, slots=True)
class Exited:
    """It ended by itself."""

    sandbox_id: str
    why: Why


@dataclass(frozen=True, slots=True)
class Ended:
    """No process of it is left."""

    sandbox_id: str


@dataclass(frozen=True, slots=True)
class Kill:
    """asker: who waits for its end, None for nobody."""

    sandbox_id: str
    asker: int | None
    why: Why = Why.KILLED


@dataclass(frozen=True, slots=True)
class SetTimeout:
    """It ends so many seconds from now; with extend, not earlier than it would have."""

    sandbox_id: str
    asker: int
    seconds: float
    extend: bool = False


@dataclass(frozen=True, slots=True)
class Measured:
    """memory: bytes by sandbox. base_bytes: the gateway's own and the template's."""

    memory: Mapping[str, int]
    base_bytes: int


@dataclass(frozen=True, slots=True)
class Granted:
    """The ledger holds so much for the sandboxes now."""

    bytes: int


@dataclass(frozen=True, slots=True)
class Denied:
    """The ledger has no room; what it held before stands."""

    words: str


@dataclass(frozen=True, slots=True)
class LedgerAway:
    """Nobody can be asked: the sandboxes' own limit is all there is."""


@dataclass(frozen=True, slots=True)
class Availability:
    """words: why no sandbox can be had now, with the mend; None when all is well. passing: that will change by itself
    in some seconds, and who wants one waits meanwhile.
    """

    words: str | None
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Tick:
    """Time passed."""


@dataclass(frozen=True, slots=True)
class Shutdown:
    """Everything is ended."""


Event = (
    Create | Withdraw | Ready | Failed | Exited | Ended | Kill | SetTimeout | Measured | Granted | Denied | LedgerAway
    | Availability | Tick | Shutdown
)  # fmt: skip

# Effects


@dataclass(frozen=True, slots=True)
class Grant:
    """The ticket has its sandbox."""

    ticket: int
    sandbox_id: str


@dataclass(frozen=True, slots=True)
class Refuse:
    ticket: int
    error: ApiError


@dataclass(frozen=True, slots=True)
class Launch:
    sandbox_id: str


@dataclass(frozen=True, slots=True)
class Destroy:
    """To be ended, however far its launch is; `Ended` follows once."""

    sandbox_id: str
    why: Why


@dataclass(frozen=True, slots=True)
class Hold:
    """The ledger is asked; Granted, Denied or LedgerAway follows. Never two at a time.

    in_use: the memory is taken already, and the ledger is only told.
    """

    bytes: int
    in_use: bool


@dataclass(frozen=True, slots=True)
class Answer:
    """Answers a `Kill` or a `SetTimeout`. found: whether there was such a sandbox."""

    asker: int
    found: bool


Effect = Grant | Refuse | Launch | Destroy | Hold | Answer
