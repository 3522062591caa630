"""W3C Trace Context (https://www.w3.org/TR/trace-context/): one trace from the first hop to the last."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

_HEADER = re.compile(r"^([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$")


@dataclass(frozen=True, slots=True)
class TraceContext:
    trace_id: str  # 32 hexadecimal digits
    span_id: str  # 16 hexadecimal digits
    flags: str = "01"

    @property
    def header(self) -> str:
        """The value of `traceparent`."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags}"

    def child(self) -> TraceContext:
        """A new span of the same trace."""
        return TraceContext(self.trace_id, os.urandom(8).hex(), self.flags)

    def unless(self, said: TraceContext | None) -> TraceContext:
        """`said`, which came inside a message, where it is of another trace: between sender and receiver there may be
        what knows nothing of traces. Of the same trace, this one is nearer.
        """
        return said if said is not None and said.trace_id != self.trace_id else self

    @staticmethod
    def new() -> TraceContext:
        return TraceContext(os.urandom(16).hex(), os.urandom(8).hex())

    @staticmethod
    def parse(header: str | None) -> TraceContext | None:
        """None for a header that is missing or that the recommendation calls invalid."""
        match = _HEADER.match(header.strip()) if header else None
        if match is None or match[1] == "ff" or (match[1] == "00" and match[5]):
            return None
        if set(match[2]) == {"0"} or set(match[3]) == {"0"}:
            return None
        return TraceContext(match[2], match[3], match[4])
