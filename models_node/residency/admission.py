"""Who may even wait: bounds of the queues, and what can never fit; and what those are told who waited in vain."""

from __future__ import annotations

from models_node.errors import held_by_others, out_of_memory, queue_full, queue_timeout
from models_node.residency.decide import State
from models_node.residency.ledger import Ledger
from models_node.residency.limits import ResidencyLimits
from models_node.residency.slots import Slot, needed_bytes
from wire.errors import ApiError

BATCH_SHARE = 2  # batch requests may take one half of each queue, so that people find a place


def refusal(
    slot: Slot, ledger: Ledger, limits: ResidencyLimits, *, waiting: int, pinned_bytes: int, batch: bool
) -> ApiError | None:
    """Why the request is turned away at the door, or None.

    waiting: requests that wait now, over all models. pinned_bytes: what other, pinned models hold for good.
    """
    entry = slot.entry
    if not entry.remote and slot.state is not State.READY:  # what is in memory serves, whatever it was measured at
        needed = ledger.measured(entry.id) or entry.memory_bytes
        if needed > ledger.usable_bytes - pinned_bytes:
            return out_of_memory(entry.id, needed, ledger.usable_bytes - pinned_bytes, pinned=pinned_bytes > 0)
    share = BATCH_SHARE if batch else 1
    if waiting < max(1, limits.queue_limit // share) and len(slot.waiting) < max(1, entry.max_waiting // share):
        return None
    places = entry.batch_places if batch else entry.max_concurrent
    free = slot.state is State.READY and not (slot.draining or slot.retiring or slot.waiting)
    if free and len(slot.in_flight) < places:
        return None  # it does not have to wait at all
    return queue_full(len(slot.waiting), waiting, batch=batch)


def no_place(slot: Slot, ledger: Ledger, waited_seconds: float, *, pinned_bytes: int) -> ApiError:
    """Why the request has waited in vain: for memory that no eviction could have freed, or for its turn."""
    needed = needed_bytes(slot, ledger)
    held = ledger.charged(slot.entry.id)
    cold = slot.state is not State.READY and not slot.entry.remote
    if cold and needed + held > ledger.usable_bytes - pinned_bytes - ledger.holders_bytes and ledger.holders_bytes:
        return held_by_others(slot.entry.id, needed, waited_seconds, ledger.holders)
    return queue_timeout(slot.entry.id, waited_seconds)
