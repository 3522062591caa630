"""A core with small limits, and the world around it: launches and kills that end when the test says so."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field

from models_node.sandbox.gateway import events as e
from models_node.sandbox.gateway.core import Core
from models_node.sandbox.gateway.limits import LifecycleLimits
from models_node.sandbox.gateway.records import Claim

MIB = 2**20


def limits(**changed: float) -> LifecycleLimits:
    values: dict[str, float] = {
        "max_count": 4,
        "pool_size": 2,
        "admitted_bytes": 100 * MIB,
        "total_bytes": 1000 * MIB,
        "create_wait_seconds": 10.0,
        "queue_limit": 3,
    }
    return LifecycleLimits(**(values | changed))  # type: ignore[arg-type]


def claim(owner: str = "services", timeout_seconds: float = 300.0) -> Claim:
    return Claim(owner, "base", {}, timeout_seconds, egress=False, envd_token="e", traffic_token="t")


@dataclass(slots=True)
class House:
    """ledger_bytes: what the ledger would grant; None: it cannot be reached. It answers at once."""

    core: Core
    now: float = 1000.0
    ledger_bytes: int | None = 100_000 * MIB
    answers: bool = True  # whether the ledger answers by itself
    launching: list[str] = field(default_factory=list)
    dying: list[str] = field(default_factory=list)
    granted: dict[int, str] = field(default_factory=dict)
    refused: dict[int, str] = field(default_factory=dict)
    told: dict[int, bool] = field(default_factory=dict)
    holds: list[e.Hold] = field(default_factory=list)
    whys: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, **changed: float) -> House:
        numbers = itertools.count(1)
        return cls(Core(limits(**changed), lambda: f"s{next(numbers)}"))

    def tell(self, event: e.Event) -> None:
        pending: list[e.Event] = [event]
        while pending:
            for effect in self.core.handle(pending.pop(0), self.now):
                answer = self._carry_out(effect)
                if answer is not None:
                    pending.append(answer)

    def _carry_out(self, effect: e.Effect) -> e.Event | None:
        match effect:
            case e.Grant(ticket, sandbox_id):
                assert ticket not in self.granted
                self.granted[ticket] = sandbox_id
            case e.Refuse(ticket, error):
                assert ticket not in self.granted
                self.refused[ticket] = error.code
            case e.Launch(sandbox_id):
                self.launching.append(sandbox_id)
            case e.Destroy(sandbox_id, why):
                assert sandbox_id not in self.dying
                self.dying.append(sandbox_id)
                self.whys[sandbox_id] = why.name
            case e.Answer(asker, found):
                self.told[asker] = found
            case e.Hold():
                self.holds.append(effect)
                return self.ledger_says(effect) if self.answers else None
        return None

    def ledger_says(self, hold: e.Hold) -> e.Event:
        if self.ledger_bytes is None:
            return e.LedgerAway()
        if hold.bytes > self.ledger_bytes and not hold.in_use:
            return e.Denied("no room")
        return e.Granted(hold.bytes)

    def later(self, seconds: float) -> None:
        self.now += seconds
        self.tell(e.Tick())

    def ready(self, sandbox_id: str | None = None) -> str:
        found = sandbox_id or self.launching[0]
        self.launching.remove(found)
        self.tell(e.Ready(found))
        return found

    def ended(self, sandbox_id: str | None = None) -> None:
        found = sandbox_id or self.dying[0]
        self.dying.remove(found)
        self.tell(e.Ended(found))

    def warm_up(self) -> None:
        self.tell(e.Tick())
        while self.launching:
            self.ready()

    def create(self, ticket: int, **asked: float) -> None:
        self.tell(e.Create(ticket, claim(**asked)))  # type: ignore[arg-type]
