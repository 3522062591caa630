"""What must hold whatever happens in whatever order: hypothesis plays the clients, the engines and the clock."""

from __future__ import annotations

from collections.abc import Mapping

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from models_node.errors import EngineFailed, EngineOutOfMemory
from models_node.residency import events as e
from models_node.residency.core import Core
from models_node.residency.decide import Priority, State
from models_node.residency.limits import ResidencyLimits
from models_node.residency.slots import residence_seconds
from tests.unit.models_node.residency.core_house import GIB, entry

BUDGET = 8 * GIB
MODELS = ("a", "b", "c", "d", "e")
ENTRIES = (
    entry("a", 3, max_concurrent=2),
    entry("b", 4, max_concurrent=1, keep_alive_seconds=30.0),
    entry("c", 2, max_concurrent=4, max_waiting=4),
    entry("d", 7, max_concurrent=2),
    entry("e", 1, max_concurrent=2),
)
HOLDERS = ("sandboxes", "others")
MEMORY = {each.id: each.memory_bytes for each in ENTRIES}
LIMITS = ResidencyLimits(
    BUDGET, queue_limit=24, queue_timeout_seconds=10_000.0, patience_seconds=20.0, batch_ageing_seconds=30.0
)
models = st.sampled_from(MODELS)


class Node(RuleBasedStateMachine):
    """`alive` is what is really in memory; `taken` the tickets that were granted and are not over; `asking` what
    holders asked for and were not answered."""

    def __init__(self) -> None:
        super().__init__()
        self.core = Core(ENTRIES, LIMITS)
        self.now = 1000.0
        self.next_ticket = 0
        self.alive: dict[str, int] = {}  # model → generation
        self.loading: set[str] = set()
        self.dying: set[str] = set()
        self.sleeping: dict[str, str] = {}
        self.can_sleep: set[str] = set()
        self.open: dict[int, str] = {}  # waiting
        self.taken: dict[int, tuple[str, int]] = {}
        self.outcomes: dict[int, int] = {}
        self.unloads: set[int] = set()
        self.asking: dict[int, e.Hold] = {}
        self.most_bytes = BUDGET  # that may be charged: more only where a holder had taken its memory already
        self.real: dict[str, int] = {}  # bytes that each model really takes: less than estimated, and always the same

    def tell(self, event: e.Event) -> None:
        ledger = self.core.ledger
        before = ledger.holders
        effects = self.core.handle(event, self.now)
        if isinstance(event, e.Hold) and event.in_use:
            self.most_bytes = max(BUDGET, ledger.held_bytes)
        assert ledger.held_bytes <= self.most_bytes
        self.most_bytes = max(BUDGET, ledger.held_bytes)
        self.holdings_change_by_what_is_told(before, effects, event)
        for effect in effects:
            self.carry_out(effect, event)

    def holdings_change_by_what_is_told(
        self, before: Mapping[str, int], effects: list[e.Effect], event: e.Event
    ) -> None:
        told = {self.asking[held.asker].holder for held in effects if isinstance(held, e.Held)}
        told |= {silent.holder for silent in effects if isinstance(silent, e.HolderSilent)}
        told |= {event.holder} if isinstance(event, e.HolderLeft) else set()
        after = self.core.ledger.holders
        assert all(before.get(holder) == after.get(holder) for holder in HOLDERS if holder not in told)

    def carry_out(self, effect: e.Effect, cause: e.Event) -> None:
        match effect:
            case e.Grant(ticket, model, generation):
                assert self.open.pop(ticket) == model
                self.outcomes[ticket] = self.outcomes.get(ticket, 0) + 1
                assert self.alive.get(model) == generation, "granted a place in an engine that is not there"
                assert model not in self.loading | self.dying | set(self.sleeping)
                self.taken[ticket] = (model, generation)
            case e.Refuse(ticket):
                self.open.pop(ticket)
                self.outcomes[ticket] = self.outcomes.get(ticket, 0) + 1
            case e.Start(model, generation):
                assert model not in self.alive, "one load at a time for each model"
                self.alive[model] = generation
                self.loading.add(model)
                self.can_sleep.discard(model)
            case e.Stop(model, _, why):
                assert model in self.alive
                if why in (e.Why.EVICTED, e.Why.IDLE, e.Why.UNWANTED, e.Why.ASKED):
                    assert not self.busy(model), f"a busy model was stopped: {why}"
                self.loading.discard(model)
                self.sleeping.pop(model, None)
                self.dying.add(model)
            case e.Sleep(model):
                assert not self.busy(model)
                self.sleeping[model] = "going"
            case e.Wake(model):
                assert self.sleeping[model] == "asleep"
                self.sleeping[model] = "waking"
            case e.Unloaded(asker):
                self.unloads.remove(asker)
            case e.Held(asker) | e.HoldRefused(asker):
                del self.asking[asker]
            case _:
                pass

    def busy(self, model: str) -> bool:
        return (model, self.alive[model]) in self.taken.values()

    # clients

    @rule(model=models, batch=st.booleans())
    def request(self, model: str, batch: bool) -> None:
        self.next_ticket += 1
        self.open[self.next_ticket] = model
        self.tell(e.Request(self.next_ticket, model, Priority.BATCH if batch else Priority.INTERACTIVE))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.open)))
        del self.open[ticket]
        self.tell(e.Finished(ticket))

    @precondition(lambda self: self.taken)
    @rule(data=st.data(), well=st.booleans())
    def finish(self, data: st.DataObject, well: bool) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.taken)))
        del self.taken[ticket]
        self.tell(e.Finished(ticket, well))

    @rule(model=models)
    def unload(self, model: str) -> None:
        self.next_ticket += 1
        self.unloads.add(self.next_ticket)
        self.tell(e.Unload(model, self.next_ticket))

    # others that hold memory

    @rule(
        holder=st.sampled_from(HOLDERS), quarters=st.integers(0, 36), in_use=st.booleans(),
        ttl=st.sampled_from([20.0, 1000.0]),
    )  # fmt: skip
    def hold(self, holder: str, quarters: int, in_use: bool, ttl: float) -> None:
        self.next_ticket += 1
        asked = e.Hold(self.next_ticket, holder, quarters * GIB // 4, in_use, ttl)
        self.asking[self.next_ticket] = asked
        held = self.core.ledger.held_by(holder)
        self.tell(asked)
        if in_use or asked.bytes_ <= held:
            assert self.next_ticket not in self.asking, "this needs no room: it is answered at once"

    @precondition(lambda self: self.asking)
    @rule(data=st.data())
    def abandon(self, data: st.DataObject) -> None:
        asker = data.draw(st.sampled_from(sorted(self.asking)))
        del self.asking[asker]
        self.tell(e.HoldAbandoned(asker))

    @rule(holder=st.sampled_from(HOLDERS))
    def leave_memory(self, holder: str) -> None:
        self.tell(e.HolderLeft(holder))
        assert self.core.ledger.held_by(holder) == 0

    # engines

    @precondition(lambda self: self.loading)
    @rule(data=st.data(), can_sleep=st.booleans(), share=st.floats(0.5, 1.0))
    def load_ends_well(self, data: st.DataObject, can_sleep: bool, share: float) -> None:
        model = data.draw(st.sampled_from(sorted(self.loading)))
        self.loading.remove(model)
        if can_sleep:
            self.can_sleep.add(model)
        self.tell(e.Loaded(model, self.alive[model], can_sleep))
        real = self.real.setdefault(model, int(MEMORY[model] * share))
        self.tell(e.Measured(model, self.alive[model], real, 0))

    @precondition(lambda self: set(self.alive) - self.dying)
    @rule(data=st.data(), out_of_memory=st.booleans())
    def dies(self, data: st.DataObject, out_of_memory: bool) -> None:
        model = data.draw(st.sampled_from(sorted(set(self.alive) - self.dying)))
        self.loading.discard(model)
        kind = EngineOutOfMemory if out_of_memory else EngineFailed
        self.tell(e.Died(model, self.alive[model], kind("it ended")))
        assert model in self.dying

    @precondition(lambda self: self.dying)
    @rule(data=st.data(), stuck=st.booleans())
    def is_gone(self, data: st.DataObject, stuck: bool) -> None:
        model = data.draw(st.sampled_from(sorted(self.dying)))
        if stuck:
            self.tell(e.Stuck(model, self.alive[model], "pid 7 does not end"))
            return
        self.dying.remove(model)
        self.tell(e.Gone(model, self.alive.pop(model)))

    @precondition(lambda self: self.sleeping)
    @rule(data=st.data())
    def sleep_or_wake_ends(self, data: st.DataObject) -> None:
        moving = sorted(model for model, how in self.sleeping.items() if how != "asleep")
        if not moving:
            return
        model = data.draw(st.sampled_from(moving))
        if self.sleeping[model] == "going":
            self.sleeping[model] = "asleep"
            self.tell(e.Slept(model, self.alive[model], GIB // 4))
        else:
            del self.sleeping[model]
            self.tell(e.Woken(model, self.alive[model]))

    @rule(data=st.data(), answered=st.booleans())
    def probe_ends(self, data: st.DataObject, answered: bool) -> None:
        serving = sorted(set(self.alive) - self.dying - self.loading - set(self.sleeping))
        if serving:
            model = data.draw(st.sampled_from(serving))
            self.tell(e.Probed(model, self.alive[model], answered, self.now - 1))

    @rule(seconds=st.sampled_from([0.5, 5.0, 25.0, 120.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.tell(e.Tick())

    # what must hold

    @invariant()
    def nobody_waits_for_memory_longer_than_he_may(self) -> None:
        assert not self.asking or self.core.holders.growing
        assert all(due > self.now for due in self.core.holders.due())

    @invariant()
    def beyond_the_budget_no_idle_model_is_kept(self) -> None:
        if self.core.ledger.free_bytes < 0 and not self.dying | set(self.sleeping):
            for model in set(self.alive) - self.loading:
                slot = self.core.slots[model]
                assert not slot.idle or self.now < slot.load_ended + residence_seconds(slot, LIMITS)

    @invariant()
    def whatever_is_in_memory_is_charged(self) -> None:
        assert all(self.core.ledger.charged(model) > 0 for model in self.alive)

    @invariant()
    def every_ticket_has_one_outcome_at_most(self) -> None:
        assert all(count == 1 for count in self.outcomes.values())

    @invariant()
    def nobody_waits_where_there_is_a_free_place(self) -> None:
        for slot in self.core.slots.values():
            if slot.state is State.READY and slot.waiting and not (slot.draining or slot.retiring):
                places = slot.entry.max_concurrent - len(slot.in_flight)
                batch_only = all(ticket.batch for ticket in slot.waiting)
                assert places <= 0 or (batch_only and slot.batch_in_flight >= slot.entry.batch_places)

    @invariant()
    def the_core_is_woken_while_anybody_waits(self) -> None:
        if self.open:
            assert self.core.due(self.now) is not None or self.loading or self.dying or self.sleeping

    def teardown(self) -> None:
        """From here on everything goes well, and new requests keep coming for whatever is loaded: nobody starves."""
        waiting = set(self.open)
        for round_ in range(200):
            if not waiting & set(self.open):
                break
            self.now += 5
            if round_ == 0:  # nothing can be had of what others hold for good
                for holder in HOLDERS:
                    self.tell(e.HolderLeft(holder))
            self.settle_engines()
            for model in sorted(set(self.alive) - self.dying):  # a steady stream for what is loaded
                if round_ % 2 and sum(of == model for of in self.open.values()) < 2:
                    self.request(model, batch=False)
            for ticket in sorted(self.taken):
                del self.taken[ticket]
                self.tell(e.Finished(ticket))
            self.tell(e.Tick())
        assert not waiting & set(self.open), f"starved: {self.told()}"
        self.tell(e.Shutdown())
        assert not self.open
        assert not self.asking
        for holder in HOLDERS:
            self.tell(e.HolderLeft(holder))
        for model in sorted(self.dying):
            self.tell(e.Gone(model, self.alive.pop(model)))
        assert not self.alive, self.told()
        assert self.core.ended, self.told()
        assert not self.unloads
        assert self.core.ledger.held_bytes == 0

    def told(self) -> str:
        return "; ".join(
            f"{m} {s.state.value} {len(s.waiting)} wait, {len(s.in_flight)} in flight, {self.core.ledger.charged(m)} "
            f"charged, {self.core.ledger.expected(m)} expected, stuck {s.stuck}"
            for m, s in self.core.slots.items()
        )

    def settle_engines(self) -> None:
        for model in sorted(self.dying):
            self.dying.remove(model)
            self.tell(e.Gone(model, self.alive.pop(model)))
        for model, how in sorted(self.sleeping.items()):
            if self.sleeping.get(model) != how:
                continue
            if how == "going":
                self.sleeping[model] = "asleep"
                self.tell(e.Slept(model, self.alive[model], GIB // 4))
            elif how == "waking":
                del self.sleeping[model]
                self.tell(e.Woken(model, self.alive[model]))
        for model in sorted(self.loading):
            if model in self.loading:
                self.loading.remove(model)
                self.tell(e.Loaded(model, self.alive[model], model in self.can_sleep))
                self.tell(e.Measured(model, self.alive[model], self.real.setdefault(model, MEMORY[model]), 0))
        # An engine taken down in the middle of this is seen to in the next round.


TestNode = Node.TestCase
TestNode.settings = settings(
    max_examples=100, stateful_step_count=50, phases=[Phase.generate, Phase.shrink], deadline=None, derandomize=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)  # fmt: skip
