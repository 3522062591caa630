"""The state of a model and of the ledger, as it is told to those who look."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from models_node.residency.decide import State
from models_node.residency.ledger import Ledger
from models_node.residency.messages import HolderStatus, LedgerStatus, ModelStatus, Progress
from models_node.residency.slots import Slot


def status_of(slot: Slot, ledger: Ledger, pid: int | None, socket: Path | None, now: float) -> ModelStatus:
    model = slot.entry.id
    oldest = min((ticket.enqueued for ticket in slot.waiting), default=now)
    return ModelStatus(
        model=model,
        state=slot.state,
        remote=slot.entry.remote,
        pid=pid,
        socket=socket,
        estimated_bytes=ledger.expected(model),
        measured_bytes=ledger.measured(model),
        charged_bytes=ledger.charged(model),
        in_flight=len(slot.in_flight),
        in_flight_batch=slot.batch_in_flight,
        waiting=len(slot.waiting),
        waiting_batch=sum(ticket.batch for ticket in slot.waiting),
        oldest_wait_seconds=now - oldest,
        idle_seconds=now - slot.last_used if slot.last_used else None,
        requests=slot.requests,
        loads=slot.loads,
        wakes=slot.wakes,
        evictions=slot.evictions,
        last_load_seconds=slot.last_load_seconds,
        mean_load_seconds=slot.load_seconds,
        wait_seconds=slot.wait_seconds(now),
        verified=slot.verified,
        wedged=slot.wedged,
        draining=slot.draining or slot.retiring,
        pinned=slot.entry.pinned,
        stuck=slot.stuck,
        last_error=slot.last_error,
        load_failure=slot.load_failure,
        breaker_seconds=max(0.0, slot.breaker.open_until - now),
        last_words=slot.breaker.last_words,
    )


def ledger_status_of(ledger: Ledger, until: Mapping[str, float], now: float) -> LedgerStatus:
    """until: when each holder counts as gone."""
    holders = tuple(HolderStatus(name, ledger.held_by(name), max(0.0, at - now)) for name, at in until.items())
    return LedgerStatus(ledger.budget_bytes, ledger.held_bytes, ledger.shared_bytes, holders)


def progress_of(slot: Slot, now: float) -> Progress:
    ahead = len(slot.waiting)
    match slot.state:
        case State.LOADING:
            return Progress("loading", now - slot.load_started, slot.load_seconds, ahead)
        case State.WAKING:
            return Progress("waking", now - slot.load_started, slot.wake_seconds, ahead)
        case State.READY if slot.entry.remote or len(slot.in_flight) < slot.entry.max_concurrent:
            return Progress("ready", 0.0, None, ahead)
        case _:
            oldest = slot.waiting[0].enqueued if slot.waiting else now
            return Progress("queued", now - oldest, None, ahead)
