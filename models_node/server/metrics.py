"""Prometheus metrics of the model server: OpenTelemetry's names for generative AI, and residency's own.

The names are OpenTelemetry's semantic conventions (gen_ai.server.*) with underscores; times are seconds.
"""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

TIMES = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300)
LABELS = ["gen_ai_operation_name", "gen_ai_request_model"]

TIME_TO_FIRST_TOKEN = Histogram(
    "gen_ai_server_time_to_first_token_seconds",
    "From the request's arrival to the first streamed bytes of the answer, queue and load included.",
    LABELS,
    buckets=TIMES,
)
REQUEST_DURATION = Histogram(
    "gen_ai_server_request_duration_seconds",
    "From the request's arrival to the end of the answer. error_type is empty when it went well.",
    [*LABELS, "error_type"],
    buckets=TIMES,
)
QUEUE_TIME = Histogram(
    "capibara6_model_queue_seconds",
    "Wait for a place in the model's engine, its load excluded.",
    ["model"],
    buckets=TIMES,
)
MODELS_LOADED = Gauge("capibara6_models_loaded", "Engines that serve now.")
EVICTIONS = Counter("capibara6_model_evictions", "Engines that had to make room for another.", ["model"])
LOADS = Histogram(
    "capibara6_model_load_seconds", "From the decision to load to the engine serving.", ["model"],
    buckets=(1, 2.5, 5, 10, 20, 30, 45, 60, 90, 120, 180, 300, 600),
)  # fmt: skip
LOAD_FAILURES = Counter("capibara6_model_load_failures", "Engines that never became ready.", ["model"])
IN_FLIGHT = Gauge("capibara6_model_in_flight", "Requests in a model's engine.", ["model"])
