"""What each sandbox was measured to use, as a short series."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from models_node.sandbox.gateway.launching import Usage
from models_node.sandbox.gateway.limits import SAMPLES_KEPT
from models_node.sandbox.gateway.records import Sandbox

LEAST_SECONDS = 0.5  # between two samples: over less, processor time is mostly rounding


@dataclass(frozen=True, slots=True)
class Sample:
    """at: monotonic. cpu_percent: of one core, since the sample before (the first: since the sandbox was made)."""

    at: float
    memory_bytes: int
    processes: int
    cpu_percent: float
    cpu_seconds: float


class Samples:
    def __init__(self) -> None:
        self._series: dict[str, deque[Sample]] = {}

    def add(self, sandbox: Sandbox, usage: Usage, now: float) -> None:
        series = self._series.setdefault(sandbox.id, deque(maxlen=SAMPLES_KEPT))
        since, used = (series[-1].at, series[-1].cpu_seconds) if series else (sandbox.made_at, 0.0)
        if series and now - since < LEAST_SECONDS:
            return
        percent = 100 * max(0.0, usage.cpu_seconds - used) / max(now - since, 1e-3)
        series.append(Sample(now, usage.memory_bytes, usage.processes, round(percent, 2), usage.cpu_seconds))

    def of(self, sandbox_id: str) -> tuple[Sample, ...]:
        return tuple(self._series.get(sandbox_id, ()))

    def last(self, sandbox_id: str) -> Sample | None:
        series = self._series.get(sandbox_id)
        return series[-1] if series else None

    def forget(self, sandbox_id: str) -> None:
        self._series.pop(sandbox_id, None)
