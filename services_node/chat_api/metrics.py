"""Prometheus metrics of runs: chat turns by OpenTelemetry's names for generative AI clients."""

from __future__ import annotations

from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from db.records import NewRun
from flows.conduct import Ended
from flows.turn import Transcript

_SECONDS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92, 163.84)
_LABELS = ["gen_ai_operation_name", "gen_ai_response_model"]

DURATION = Histogram(
    "gen_ai_client_operation_duration_seconds", "A chat turn, whole.", [*_LABELS, "error_type"], buckets=_SECONDS
)
FIRST_CHUNK = Histogram(
    "gen_ai_client_operation_time_to_first_chunk_seconds", "Until a turn's first token.", _LABELS, buckets=_SECONDS
)
TOKENS = Counter("gen_ai_client_token_usage", "Tokens of chat turns.", [*_LABELS, "gen_ai_token_type"])
ACTIVE = Gauge("capibara6_chat_active_turns", "Chat turns under way.")
CODE_RUNS = Histogram("capibara6_code_run_seconds", "A run of code, whole.", ["kind", "error_type"], buckets=_SECONDS)
ACTIVE_CODE = Gauge("capibara6_code_active_runs", "Runs of code under way.")


def observe(run: NewRun, ended: Ended[Any]) -> None:
    """Counts a run that has ended."""
    kind = run.kind
    if kind == "chat":
        _observe_turn(ended)
    else:
        CODE_RUNS.labels(kind, ended.error.code if ended.error else "").observe(ended.total_ms / 1000)


def _observe_turn(ended: Ended[Transcript]) -> None:
    said = ended.account
    model = said.model or "none"
    DURATION.labels("chat", model, ended.error.code if ended.error else "").observe(ended.total_ms / 1000)
    if said.first_token_ms is not None:
        FIRST_CHUNK.labels("chat", model).observe(said.first_token_ms / 1000)
    TOKENS.labels("chat", model, "input").inc(said.prompt_tokens or 0)
    TOKENS.labels("chat", model, "output").inc(said.completion_tokens or 0)
