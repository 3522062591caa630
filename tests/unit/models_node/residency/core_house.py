"""A core on a virtual clock, with engines whose life the test leads; it remembers what became of each ticket."""

from __future__ import annotations

from models_node.catalogue import ModelEntry
from models_node.residency import events as e
from models_node.residency.core import Core
from models_node.residency.decide import Priority, State
from models_node.residency.limits import ResidencyLimits

GIB = 2**30


def entry(model: str, memory: int = 3, **fields: object) -> ModelEntry:
    given = {"id": model, "domain": "general", "description": "", "context_length": 1, "weights": "w",
             "memory_estimate": memory * GIB, "keep_alive_seconds": 600.0} | fields  # fmt: skip
    return ModelEntry(**given)  # type: ignore[arg-type]


class CoreHouse:
    """`now` moves only when the test moves it."""

    def __init__(self, *entries: ModelEntry, budget: int = 7, **limits: float) -> None:
        self.core = Core(entries, ResidencyLimits(budget * GIB, **limits))  # type: ignore[arg-type]
        self.now = 100.0
        self.tickets = 0
        self.granted: dict[int, e.Grant] = {}
        self.refused: dict[int, e.Refuse] = {}
        self.effects: list[e.Effect] = []  # of the last event

    def tell(self, event: e.Event) -> list[e.Effect]:
        self.effects = self.core.handle(event, self.now)
        for effect in self.effects:
            if isinstance(effect, e.Grant):
                assert effect.ticket not in self.granted
                self.granted[effect.ticket] = effect
            elif isinstance(effect, e.Refuse):
                self.refused[effect.ticket] = effect
        return self.effects

    def after(self, seconds: float) -> list[e.Effect]:
        self.now += seconds
        return self.tell(e.Tick())

    def ask(self, model: str, priority: Priority = Priority.INTERACTIVE) -> int:
        self.tickets += 1
        self.tell(e.Request(self.tickets, model, priority))
        return self.tickets

    def finish(self, ticket: int, well: bool = True) -> list[e.Effect]:
        return self.tell(e.Finished(ticket, well))

    def state(self, model: str) -> State:
        return self.core.slots[model].state

    def generation(self, model: str) -> int:
        return self.core.slots[model].generation

    def loaded(self, model: str, *, measured: float | None = None, can_sleep: bool = False) -> None:
        self.tell(e.Loaded(model, self.generation(model), can_sleep))
        self.tell(e.Probed(model, self.generation(model), True, self.now))
        if measured is not None:
            self.tell(e.Measured(model, self.generation(model), int(measured * GIB), 0))

    def gone(self, model: str) -> list[e.Effect]:
        return self.tell(e.Gone(model, self.generation(model)))

    def up(self, model: str) -> None:
        """Asks once, loads, and finishes: the model is in memory and idle."""
        ticket = self.ask(model)
        self.loaded(model)
        self.finish(ticket)

    def of(self, kind: type[e.Effect]) -> list[e.Effect]:
        return [effect for effect in self.effects if isinstance(effect, kind)]
