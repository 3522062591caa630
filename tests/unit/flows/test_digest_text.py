"""Digests, retention and the evaluation of routing, in words."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from db.reports import Day, FailedRuns, ModelUse, RunsOf, SaidBy
from flows.cuts import Removed, cuts_of, retention_told
from flows.digest_text import day_before, digest_told, is_quiet, span_of
from flows.plain_words import one_line, plain_line
from flows.routing_evaluation import Compared, figures, table, words_of
from flows.warm_up import named
from stack.settings import Settings

DAY = Day(
    [SaidBy("ana", 2, 3, 3)],
    [
        RunsOf("chat", "chat", "completed", 3, 10, 20),
        RunsOf("chat", "n8n", "failed", 1, 0, 0),
        RunsOf("code", "api", "crashed", 1, 0, 0),
    ],
    [FailedRuns("chat", "queue_full", 1, "the queue | is\nfull")],
    [ModelUse("qwen_coder", 3, 20, 12.4)],
    [("ana", "*Hola* <b>"), ("ana", "Otra"), ("eva", "Suya")],
)


def test_a_digest_counts_and_names_and_others_words_do_nothing_in_it() -> None:
    text = digest_told(date(2026, 1, 31), "UTC", DAY, None, "Un día.")
    assert "5 runs, 3 completed, 2 failed, 0 cancelled" in text and "Un día." in text
    assert (
        "| ana | 2 | 3 | 3 |" in text
        and "| chat | n8n | failed | 1 |" in text
        and "the queue \\| is full" in text
        and "12 ms" in text
    )
    assert "\\*Hola\\* \\<b\\>" in text and text.count("- ana") == 1 and "- eva\n  - Suya" in text
    assert "Of ana," in digest_told(date(2026, 1, 31), "UTC", Day(), "ana", "")
    assert is_quiet(Day()) and not is_quiet(DAY)


def test_a_day_is_the_teams_and_may_have_23_hours() -> None:
    moment = datetime(2026, 3, 29, 23, 30, tzinfo=UTC)
    assert day_before(moment, "UTC") == date(2026, 3, 28) and day_before(moment, "Europe/Madrid") == date(2026, 3, 29)
    since, until = span_of(date(2026, 3, 29), "Europe/Madrid")
    assert since == datetime(2026, 3, 28, 23, tzinfo=UTC) and until - since == timedelta(hours=23)


def test_nothing_is_past_its_time_where_there_is_no_time() -> None:
    now = datetime(2026, 6, 1, tzinfo=UTC)
    cuts = cuts_of(Settings(run_retention_days=0, prefect_retention_days=7), now)
    assert cuts.runs is None and cuts.conversations is None and cuts.flow_runs == now - timedelta(days=7)
    assert cuts.files is not None and cuts.files < now
    text = retention_told([Removed("runs", None, None, "A"), Removed("files", now, 3, "B")], dry_run=True)
    assert "nothing was removed" in text and "| files | 2026-06-01T00:00+00:00 | 3 | B |" in text and "n8n" in text


def test_routing_is_compared_and_what_differs_comes_first() -> None:
    same, other = Compared("1", "a", "a", ""), Compared("2", "a", "b", "code")
    refused = Compared("3", "a", None, "bad")
    assert figures([same, other, refused]) == {
        "questions": 3, "routed": 2, "agreement": 0.5, "changes": {"a -> b": 1},
    }  # fmt: skip
    assert figures([])["agreement"] is None and words_of([]) == "There were no routed questions."
    assert [row["same"] for row in table([same, other], "http://chat")] == ["no", "yes"]


def test_models_are_named_once_and_in_order() -> None:
    assert named(" b, a,,b ") == ["b", "a"] and named("") == []


def test_lines_are_cut_and_plain() -> None:
    assert one_line("a\n b\x00c", 4) == "a b…" and plain_line("[x](y)") == "\\[x\\](y)"
