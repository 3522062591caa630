import time
import uuid

import pytest

from wire.ids import parse_run_id, uuid7
from wire.trace import TraceContext


def test_run_ids_are_version_7_and_carry_their_time() -> None:
    before = time.time_ns() // 1_000_000
    run_id = uuid7()
    assert (run_id.version, run_id.variant) == (7, uuid.RFC_4122)
    assert before <= run_id.int >> 80 <= time.time_ns() // 1_000_000
    assert len({uuid7() for _ in range(1000)}) == 1000


@pytest.mark.parametrize("text", [None, "", "no", "0190163d-8694-739b-aea5"])
def test_what_is_no_run_id_is_none(text: str | None) -> None:
    assert parse_run_id(text) is None


def test_a_trace_goes_on_in_a_new_span() -> None:
    trace = TraceContext.parse("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00")
    assert trace is not None
    child = trace.child()
    assert (child.trace_id, child.flags) == (trace.trace_id, "00")
    assert child.span_id != trace.span_id
    assert TraceContext.parse(child.header) == child


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "00-short-b7ad6b7169203331-01",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
        "00-0AF7651916CD43DD8448EB211C80319C-B7AD6B7169203331-01",
    ],
)
def test_an_invalid_traceparent_is_none(header: str | None) -> None:
    assert TraceContext.parse(header) is None
