"""Prometheus metrics of speech."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

_SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0, 60.0)
_FACTORS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0, 1.5, 2.0, 4.0)

REQUESTS = Counter("capibara6_tts_requests", "Texts asked for, by how that ended.", ["engine", "outcome"])
FIRST_AUDIO = Histogram(
    "capibara6_tts_first_audio_seconds",
    "From a request to its first audio, waiting and starting an engine included; nothing from the cache.",
    ["engine"],
    buckets=_SECONDS,
)
AUDIO = Counter("capibara6_tts_audio_seconds", "Seconds of audio made.", ["engine"])
REAL_TIME_FACTOR = Histogram(
    "capibara6_tts_real_time_factor",
    "Seconds that the engine was waited for, for one of audio.",
    ["engine"],
    buckets=_FACTORS,
)
SPEAKING = Gauge("capibara6_tts_speaking", "Texts being spoken.")
WAITING = Gauge("capibara6_tts_waiting", "Requests waiting for their turn.")
CACHE = Counter("capibara6_tts_cache_lookups", "Texts looked for in the cache.", ["result"])
CACHE_BYTES = Gauge("capibara6_tts_cache_bytes", "What the cache holds.")
