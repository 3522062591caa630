"""What the gateway keeps to: the settings that concern it, and a few figures of its own."""

from __future__ import annotations

from dataclasses import dataclass

from stack.settings import Settings

LAUNCHES_AT_ONCE = 4  # for creations that wait
REFILLS_AT_ONCE = 1  # in the background: a refill must not be felt by those who work
LAUNCH_SECONDS = 30.0  # longest launch of one sandbox, to the agent's first word
KILL_SECONDS = 10.0  # after it a kill is tried again; its memory stays held
INIT_SECONDS = 10.0
MEASURE_SECONDS = 5.0
HOLD_TTL_SECONDS = 30.0
LEDGER_SECONDS = 30.0  # longest answer: it may have to end a model first
LEDGER_RETRY_SECONDS = 2.0
FIRST_BACKOFF_SECONDS = 0.5  # after a launch that failed; doubled with each
LONGEST_BACKOFF_SECONDS = 30.0
GONE_REMEMBERED = 1000  # sandboxes that ended, and why
SAMPLES_KEPT = 120  # of a sandbox's usage
KEYS_KEPT = 1000  # Idempotency-Keys
KEY_SECONDS = 600.0

CONNECTIONS_PER_SANDBOX = 64
HEAD_SECONDS = 60.0  # from the request's last byte to the first of an answer that is no execution
EXECUTION_GRACE_SECONDS = 10.0  # what an agent gets to tell of its own deadline
MULTIPART_BYTES = 64 * 2**10  # around an upload
OUTPUT_FACTOR = 4  # bytes of an answer for one of output: JSON and base64 around it
LEAST_UPLOAD_BYTES_PER_SECOND = 1024


@dataclass(frozen=True, slots=True)
class LifecycleLimits:
    """Of the core. Counts, bytes, seconds."""

    max_count: int
    pool_size: int
    admitted_bytes: int
    total_bytes: int
    create_wait_seconds: float
    queue_limit: int

    @classmethod
    def of(cls, settings: Settings) -> LifecycleLimits:
        return cls(
            max_count=settings.sandbox_max_count,
            pool_size=settings.sandbox_pool_size,
            admitted_bytes=settings.sandbox_admitted_bytes,
            total_bytes=settings.sandbox_total_memory_bytes,
            create_wait_seconds=settings.sandbox_create_wait_seconds,
            queue_limit=settings.sandbox_create_queue_limit,
        )
