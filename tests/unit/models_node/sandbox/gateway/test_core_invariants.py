"""What must hold whatever happens in whatever order: hypothesis plays clients, launcher, ledger and clock."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from models_node.sandbox.gateway import events as e
from models_node.sandbox.gateway.records import State, Why
from tests.unit.models_node.sandbox.gateway.core_house import MIB, House, claim

MAX_COUNT = 4
QUEUE = 3
WAIT = 10.0


class Node(RuleBasedStateMachine):
    """`open` are creations without an answer; `alive` what the launcher has."""

    def __init__(self) -> None:
        super().__init__()
        self.house = House.of(max_count=MAX_COUNT, queue_limit=QUEUE, total_bytes=700 * MIB)
        self.house.answers = False
        self.ticket = 0
        self.open: dict[int, float] = {}
        self.askers: set[int] = set()
        self.answered_holds = 0

    @property
    def asked(self) -> e.Hold | None:
        """The question that the ledger has not answered."""
        return self.house.holds[-1] if len(self.house.holds) > self.answered_holds else None

    @rule(timeout=st.floats(0, 50))
    def create(self, timeout: float) -> None:
        self.ticket += 1
        self.open[self.ticket] = self.house.now
        self.house.tell(e.Create(self.ticket, claim(timeout_seconds=timeout)))

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        ticket = data.draw(st.sampled_from(sorted(self.open)))
        del self.open[ticket]
        self.house.tell(e.Withdraw(ticket))

    @precondition(lambda self: self.house.launching)
    @rule(data=st.data(), well=st.booleans())
    def launch_ends(self, data: st.DataObject, well: bool) -> None:
        sandbox_id = data.draw(st.sampled_from(self.house.launching))
        if well:
            self.house.ready(sandbox_id)
        else:
            self.house.launching.remove(sandbox_id)
            self.house.tell(e.Failed(sandbox_id, "words"))

    @precondition(lambda self: self.house.dying)
    @rule(data=st.data())
    def kill_ends(self, data: st.DataObject) -> None:
        sandbox_id = data.draw(st.sampled_from(self.house.dying))
        if sandbox_id in self.house.launching:
            self.house.launching.remove(sandbox_id)
        self.house.ended(sandbox_id)

    @precondition(lambda self: self.house.core.sandboxes)
    @rule(data=st.data(), kind=st.sampled_from(["kill", "timeout", "exit"]), seconds=st.floats(0, 100))
    def touch(self, data: st.DataObject, kind: str, seconds: float) -> None:
        sandbox_id = data.draw(st.sampled_from(sorted(self.house.core.sandboxes)))
        self.ticket += 1
        if kind == "exit":
            self.house.tell(e.Exited(sandbox_id, Why.EXITED))
            return
        self.askers.add(self.ticket)
        self.house.tell(
            e.Kill(sandbox_id, self.ticket) if kind == "kill" else e.SetTimeout(sandbox_id, self.ticket, seconds)
        )

    @precondition(lambda self: self.asked is not None)
    @rule(answer=st.sampled_from(["yes", "no", "away"]))
    def ledger_answers(self, answer: str) -> None:
        asked = self.asked
        assert asked is not None
        self.answered_holds = len(self.house.holds)
        if answer == "away":
            self.house.tell(e.LedgerAway())
        elif answer == "yes" or asked.in_use:
            self.house.tell(e.Granted(asked.bytes))
        else:
            self.house.tell(e.Denied("no room"))

    @rule(base=st.integers(0, 100 * MIB), each=st.integers(0, 300 * MIB))
    def measured(self, base: int, each: int) -> None:
        self.house.tell(e.Measured(dict.fromkeys(self.house.core.sandboxes, each), base))

    @rule(words=st.sampled_from([None, "no cgroups"]))
    def availability(self, words: str | None) -> None:
        self.house.tell(e.Availability(words))

    @rule(seconds=st.floats(0.01, 20))
    def time_passes(self, seconds: float) -> None:
        """In the steps that the core asked for."""
        end = self.house.now + seconds
        while (due := self.house.core.due(self.house.now)) is not None and due < end:
            self.house.now = due
            self.house.tell(e.Tick())
        self.house.now = end
        self.house.tell(e.Tick())

    @invariant()
    def holds(self) -> None:
        house, core = self.house, self.house.core
        for ticket in tuple(self.open):
            if ticket in house.granted or ticket in house.refused:
                del self.open[ticket]
        self.askers -= set(house.told)
        assert len(core.sandboxes) <= MAX_COUNT
        assert len(core.waiting) <= QUEUE
        assert {waiting.ticket for waiting in core.waiting} == set(self.open), "nobody is forgotten"
        assert all(house.now - since < WAIT for since in self.open.values()), "nobody waits for ever"
        assert not (house.granted.keys() & house.refused.keys()), "one answer each"
        assert len(set(house.granted.values())) == len(house.granted), "a sandbox has one owner"
        count = core.count()
        assert not (count[State.WARM] and core.waiting), "nobody waits beside a warm one"
        for sandbox in core.sandboxes.values():
            assert (sandbox.state is State.DYING) == (sandbox.id in house.dying)
            assert sandbox.state is not State.RUNNING or sandbox.ends_at > house.now
        assert all(core.sandboxes[s.id].killers for s in core.sandboxes.values() if s.killers)
        killers = {asker for sandbox in core.sandboxes.values() for asker in sandbox.killers}
        assert self.askers == killers, "who asks for an end hears of it, or it is still to come"
        unanswered = len(house.holds) - self.answered_holds
        assert 0 <= unanswered <= 1, "one question at a time"

    def teardown(self) -> None:
        """After a shutdown nothing is left, and everybody was told."""
        house = self.house
        house.tell(e.Shutdown())
        while house.dying:
            house.ended()
        assert house.core.ended
        assert not house.core.waiting
        assert all(ticket in house.granted or ticket in house.refused for ticket in self.open)
        assert self.askers <= house.told.keys()


TestNode = Node.TestCase
TestNode.settings = settings(max_examples=60, stateful_step_count=60, deadline=None)
