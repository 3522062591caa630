"""Prometheus metrics of the gateway. What happens is counted when it happens; how things stand is read when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from prometheus_client import REGISTRY, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

CREATIONS = Histogram(
    "capibara6_sandbox_create_seconds",
    "From the request for a sandbox to its being the client's.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
REFUSALS = Counter("capibara6_sandbox_refusals", "Requests refused, by why.", ["code"])
ENDED = Counter("capibara6_sandbox_ended", "Sandboxes that ended, by why.", ["why"])
EXECUTIONS = Counter("capibara6_sandbox_executions", "Executions passed on to sandboxes.")
CUT = Counter("capibara6_sandbox_answers_cut", "Answers of sandboxes that were cut, by why.", ["why"])
EGRESS = Counter("capibara6_sandbox_egress", "Connections out of sandboxes, by what became of them.", ["outcome"])


class Tally:
    """Refusals by code since the start, as `/stats` tells them."""

    def __init__(self) -> None:
        self.refusals: dict[str, int] = {}
        self.executions = 0


TALLY = Tally()


def refused(code: str) -> None:
    REFUSALS.labels(code).inc()
    TALLY.refusals[code] = TALLY.refusals.get(code, 0) + 1


def executed() -> None:
    EXECUTIONS.inc()
    TALLY.executions += 1


class Standing(Collector):
    """How the sandboxes stand now. Silent until somebody is watched."""

    def __init__(self) -> None:
        self._read: Callable[[], Mapping[str, float]] = dict

    def watch(self, read: Callable[[], Mapping[str, float]]) -> None:
        """read: gauge names to values; a `state` in braces becomes its label."""
        self._read = read

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        states = GaugeMetricFamily("capibara6_sandboxes", "Sandboxes by state.", labels=["state"])
        for name, value in self._read().items():
            if name.startswith("state:"):
                states.add_metric([name.removeprefix("state:")], value)
            else:
                yield GaugeMetricFamily(f"capibara6_sandbox_{name}", name.replace("_", " "), value=value)
        yield states


STANDING = Standing()
REGISTRY.register(STANDING)
