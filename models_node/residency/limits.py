"""Every number that bounds waiting, memory and patience; the settings and the catalogue give them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ResidencyLimits:
    """Bytes and seconds.

    budget_bytes: what all engines together may hold. queue_limit: requests that may wait, over all models.
    queue_timeout_seconds: longest wait for a place, a load not counted. patience_seconds: how long a request for a
    model that has no room lets the others go on being served before their models are drained for it.
    batch_ageing_seconds: a batch request stands in the queues as if it had come so much later.
    min_residence_seconds: how long a loaded model stays at least, but never longer than its own load took.
    quiet_seconds: without output for so long while work is in flight, an engine is probed. measure_seconds: how often
    the memory of a loaded engine is measured. sleep_budget_bytes: main memory for the weights of sleeping engines.
    holders_limit: holders of memory beside the engines. hold_wait_seconds: how long the growth of one waits for room.
    """

    budget_bytes: int
    queue_limit: int = 64
    queue_timeout_seconds: float = 300.0
    patience_seconds: float = 60.0
    batch_ageing_seconds: float = 60.0
    min_residence_seconds: float = 10.0
    quiet_seconds: float = 15.0
    measure_seconds: float = 30.0
    sleep_budget_bytes: int = 0
    holders_limit: int = 8
    hold_wait_seconds: float = 5.0
