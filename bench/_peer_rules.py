"""Other systems' rules of residency as they are documented, over the same events and effects as our core.

They are rules, not the systems: no process of theirs runs here. Sources: Ollama's FAQ ("How does Ollama handle
concurrent requests?") and llama-swap's config.example.yaml (matrix). Each grants a loaded model's free places at once.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import combinations

from models_node.catalogue import ModelEntry
from models_node.residency import events as e
from models_node.residency.decide import State


@dataclass(slots=True)
class Model:
    entry: ModelEntry
    state: State = State.COLD
    generation: int = 0
    waiting: list[tuple[int, float]] = field(default_factory=list)  # ticket, came at
    in_flight: set[int] = field(default_factory=set)
    last_used: float = 0.0


class Rules(ABC):
    """The machinery they share: one event in, effects out. `settle` is where they differ."""

    def __init__(self, entries: Sequence[ModelEntry], budget_bytes: int) -> None:
        self.models = {entry.id: Model(entry) for entry in entries}
        self.budget_bytes = budget_bytes
        self._tickets: dict[int, str] = {}
        self._order = 0
        self.effects: list[e.Effect] = []

    @abstractmethod
    def settle(self, now: float) -> None: ...

    def due(self, now: float) -> float | None:
        return None

    def handle(self, event: e.Event, now: float) -> list[e.Effect]:
        self.effects = []
        match event:
            case e.Request(ticket, name):
                self._tickets[ticket] = name
                self.models[name].waiting.append((ticket, now))
            case e.Finished(ticket):
                model = self.models[self._tickets.pop(ticket)]
                model.in_flight.discard(ticket)
                model.last_used = now
            case e.Loaded(name):
                self.models[name].state = State.READY
                self.models[name].last_used = now
            case e.Gone(name):
                self.models[name].state = State.COLD
            case _:
                pass
        self.settle(now)
        return self.effects

    def used(self) -> int:
        return sum(m.entry.memory_bytes for m in self.models.values() if m.state is not State.COLD)

    def start(self, model: Model) -> None:
        model.state = State.LOADING
        model.generation += 1
        self.effects.append(e.Start(model.entry.id, model.generation))

    def stop(self, model: Model) -> None:
        model.state = State.STOPPING
        self.effects.append(e.Stop(model.entry.id, model.generation, e.Why.EVICTED))

    def grant(self, model: Model, before: float = float("inf")) -> None:
        while model.state is State.READY and model.waiting and len(model.in_flight) < model.entry.max_concurrent:
            ticket, came = model.waiting[0]
            if came > before:
                return
            model.waiting.pop(0)
            model.in_flight.add(ticket)
            self.effects.append(e.Grant(ticket, model.entry.id, model.generation, 0.0, 0.0))

    def idle(self) -> list[Model]:
        ready = (m for m in self.models.values() if m.state is State.READY and not m.in_flight and not m.waiting)
        return sorted(ready, key=lambda m: m.last_used)

    def wanted(self) -> list[Model]:
        """Cold models that requests wait for, the longest wait first."""
        return sorted((m for m in self.models.values() if m.waiting and m.state is State.COLD), key=_first)


class PlainLru(Rules):
    """What fits is loaded; else the least recently used idle models go; else it waits. What is loaded is served."""

    def settle(self, now: float) -> None:
        for model in self.models.values():
            self.grant(model)
        for want in self.wanted():
            need = want.entry.memory_bytes
            if self.used() + need <= self.budget_bytes:
                self.start(want)
                continue
            for victim in make_room(self, need, self.idle()):
                self.stop(victim)
            return


class OllamaRules(Rules):
    """ "If there is insufficient available memory to load a new model request while one or more models are already
    loaded, all new requests will be queued until the new model can be loaded. As prior models become idle, one or more
    will be unloaded to make room [...] Queued requests will be processed in order." Five minutes of keep-alive."""

    KEEP_ALIVE_SECONDS = 300.0

    def settle(self, now: float) -> None:
        for model in self.idle():
            if now >= model.last_used + self.KEEP_ALIVE_SECONDS:
                self.stop(model)
        while True:
            held_since = float("inf")
            wanted = self.wanted()
            if wanted:
                need = wanted[0].entry.memory_bytes
                if self.used() + need <= self.budget_bytes:
                    self.start(wanted[0])
                    continue
                held_since = _first(wanted[0])
                for victim in make_room(self, need, self._unloadable(held_since)):
                    self.stop(victim)
            break
        for model in self.models.values():
            self.grant(model, before=held_since)

    def _unloadable(self, held_since: float) -> list[Model]:
        """Idle, where requests that came after the one everybody waits for do not count."""
        ready = [
            m for m in self.models.values()
            if m.state is State.READY and not m.in_flight and not (m.waiting and _first(m) <= held_since)
        ]  # fmt: skip
        return sorted(ready, key=lambda m: m.last_used)

    def due(self, now: float) -> float | None:
        return min((m.last_used + self.KEEP_ALIVE_SECONDS for m in self.idle()), default=None)


class LlamaSwapMatrix(Rules):
    """Sets of models that may run at once, here every largest set that fits the budget: the best its user could write
    down. A model that does not run: the set that holds it and loses the fewest running models, ties by definition order
    (largest first here); what is not in the set finishes its work, gets none, and stops. In order of arrival. It never
    unloads for being idle (ttl 0)."""

    def __init__(self, entries: Sequence[ModelEntry], budget_bytes: int) -> None:
        super().__init__(entries, budget_bytes)
        fitting = [
            frozenset(m.id for m in chosen)
            for size in range(len(entries), 0, -1)
            for chosen in combinations(entries, size)
            if sum(m.memory_bytes for m in chosen) <= budget_bytes
        ]
        self.sets = [s for s in fitting if not any(s < other for other in fitting)]
        self._leaving: set[str] = set()

    def settle(self, now: float) -> None:
        wanted = self.wanted()
        self._leaving = set()
        if wanted:
            want = wanted[0]
            for model in self.models.values():  # what came before it is served before anything is swapped
                self.grant(model, before=_first(want))
            running = {name for name, m in self.models.items() if m.state not in (State.COLD, State.STOPPING)}
            candidates = [s for s in self.sets if want.entry.id in s]
            best = min(candidates, key=lambda s: len(running - s))
            self._leaving = set(running - best)
            for name in self._leaving:
                model = self.models[name]
                if model.state is State.READY and not model.in_flight:
                    self.stop(model)
            if self.used() + want.entry.memory_bytes <= self.budget_bytes and not self._leaving:
                self.start(want)
        for name, model in self.models.items():
            if name not in self._leaving:
                self.grant(model)


def make_room(rules: Rules, need: int, candidates: Sequence[Model]) -> list[Model]:
    """The first of the candidates that free enough, counting what is on its way out; none if they do not."""
    going = sum(m.entry.memory_bytes for m in rules.models.values() if m.state is State.STOPPING)
    missing = rules.used() - going + need - rules.budget_bytes
    chosen: list[Model] = []
    for model in candidates:
        if missing <= 0:
            break
        chosen.append(model)
        missing -= model.entry.memory_bytes
    return chosen if missing <= 0 else []


def _first(model: Model) -> float:
    return model.waiting[0][1]
