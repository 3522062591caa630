"""Prometheus metrics of the model server: OpenTelemetry's names for generative AI, and residency's own.

The names are OpenTelemetry's semantic conventions (gen_ai.*) with underscores; times are seconds. What happens is
counted when it happens; how things stand is read from the pool when somebody asks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from prometheus_client import REGISTRY, Counter, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from models_node.residency.decide import State
from models_node.residency.messages import LedgerStatus, ModelStatus

TIMES = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
PER_TOKEN_TIMES = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5)
TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144)
LABELS = ["gen_ai_operation_name", "gen_ai_request_model"]

TIME_TO_FIRST_TOKEN = Histogram(
    "gen_ai_server_time_to_first_token_seconds",
    "From the request's arrival to the first streamed bytes of the answer, queue and load included.",
    LABELS,
    buckets=TIMES,
)
TIME_PER_TOKEN = Histogram(
    "gen_ai_server_time_per_output_token_seconds",
    "Between two tokens after the first, mean over an answer; of streams that asked for usage.",
    LABELS,
    buckets=PER_TOKEN_TIMES,
)
REQUEST_DURATION = Histogram(
    "gen_ai_server_request_duration_seconds",
    "From the request's arrival to the end of the answer. error_type is empty when it went well.",
    [*LABELS, "error_type"],
    buckets=TIMES,
)
TOKEN_USAGE = Histogram(
    "gen_ai_client_token_usage",
    "Tokens of an answer by gen_ai_token_type (input, output), where the engine told them.",
    [*LABELS, "gen_ai_token_type"],
    buckets=TOKENS,
)
QUEUE_TIME = Histogram(
    "capibara6_model_queue_seconds",
    "Wait for a place in the model's engine, its load excluded.",
    ["model", "priority"],
    buckets=TIMES,
)
LOADS = Histogram(
    "capibara6_model_load_seconds", "From the decision to load to the engine serving.", ["model"],
    buckets=(1, 2.5, 5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600),
)  # fmt: skip
LOAD_FAILURES = Counter("capibara6_model_load_failures", "Engines that never became ready.", ["model"])
EVICTIONS = Counter("capibara6_model_evictions", "Engines that had to make room for another.", ["model"])
WEDGED = Counter("capibara6_model_wedged", "Engines restarted because they took work and said nothing.", ["model"])
ROUTES = Counter(
    "capibara6_route_decisions", "Requests by the model that was to answer, and why.", ["model", "label", "reason"]
)


def first_token(operation: str, model: str, seconds: float) -> None:
    TIME_TO_FIRST_TOKEN.labels(operation, model).observe(seconds)


def answered(operation: str, model: str, seconds: float, error_type: str) -> None:
    REQUEST_DURATION.labels(operation, model, error_type).observe(seconds)


def tokens(operation: str, model: str, read: int, written: int) -> None:
    TOKEN_USAGE.labels(operation, model, "input").observe(read)
    if written:
        TOKEN_USAGE.labels(operation, model, "output").observe(written)


class Standing(Collector):
    """How the models and the ledger stand now. Silent until somebody is watched."""

    def __init__(self) -> None:
        self._models: Callable[[], tuple[ModelStatus, ...]] = tuple
        self._ledger: Callable[[], LedgerStatus] | None = None

    def watch(self, models: Callable[[], tuple[ModelStatus, ...]], ledger: Callable[[], LedgerStatus]) -> None:
        self._models, self._ledger = models, ledger

    def describe(self) -> Iterator[Metric]:
        return iter(())

    def collect(self) -> Iterator[Metric]:
        if self._ledger is None:
            return
        ledger = self._ledger()
        memory = GaugeMetricFamily("capibara6_memory_bytes", "The ledger of the engines' memory.", labels=["kind"])
        memory.add_metric(["budget"], ledger.budget_bytes)
        memory.add_metric(["charged"], ledger.held_bytes)
        memory.add_metric(["shared"], ledger.shared_bytes)
        memory.add_metric(["holders"], sum(holder.held_bytes for holder in ledger.holders))
        yield memory
        statuses = self._models()
        loaded = sum(status.state is State.READY and not status.remote for status in statuses)
        yield GaugeMetricFamily("capibara6_models_loaded", "Engines that serve now.", value=loaded)
        yield by_class("capibara6_model_in_flight", "Requests in a model's engine.", statuses,
                       lambda status: (status.in_flight, status.in_flight_batch))  # fmt: skip
        yield by_class("capibara6_model_waiting", "Requests that have no place yet.", statuses,
                       lambda status: (status.waiting, status.waiting_batch))  # fmt: skip
        for name, what, value in GAUGES:
            family = GaugeMetricFamily(name, what, labels=["model"])
            for status in statuses:
                if (number := value(status)) is not None:
                    family.add_metric([status.model], number)
            yield family


GAUGES: tuple[tuple[str, str, Callable[[ModelStatus], float | None]], ...] = (
    ("capibara6_model_oldest_wait_seconds", "How long the first of them has waited.", lambda s: s.oldest_wait_seconds),
    ("capibara6_model_charged_bytes", "What the ledger holds for the model.", lambda s: s.charged_bytes),
    ("capibara6_model_measured_bytes", "What its engine was last measured to hold.", lambda s: s.measured_bytes),
    ("capibara6_model_breaker_open", "1 while a failing model is left alone.", lambda s: s.breaker_seconds > 0),
    ("capibara6_model_is_wedged", "1 while its engine takes work and says nothing.", lambda s: s.wedged),
)


def by_class(
    name: str, what: str, statuses: tuple[ModelStatus, ...], counts: Callable[[ModelStatus], tuple[int, int]]
) -> Metric:
    """counts: all of them, and how many of those are batch requests."""
    family = GaugeMetricFamily(name, what, labels=["model", "priority"])
    for status in statuses:
        every, batch = counts(status)
        family.add_metric([status.model, "interactive"], every - batch)
        family.add_metric([status.model, "batch"], batch)
    return family


STANDING = Standing()
REGISTRY.register(STANDING)
