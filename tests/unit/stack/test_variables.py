"""What a start was told is what the next start of a supervised service is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from stack.paths import run_directory
from stack.processes import SERVICE
from stack.settings import Settings
from stack.supervision.variables import keep_variables, with_kept_variables


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def test_our_variables_e2bs_and_opentelemetrys_are_kept_and_nothing_else(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAPIBARA6_HISTORY_MESSAGES", "7")
    monkeypatch.setenv("E2B_API_URL", "https://sandboxes.example")
    monkeypatch.setenv("E2BIG", "not one of E2B's")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.example:4318")
    keep_variables(settings)
    found = with_kept_variables({"PATH": "/bin"}, settings)
    assert found["CAPIBARA6_HISTORY_MESSAGES"] == "7" and found["E2B_API_URL"] == "https://sandboxes.example"
    assert found["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector.example:4318"
    assert found["PATH"] == "/bin" and "E2BIG" not in found


def test_a_variable_that_the_last_start_did_not_have_is_gone(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("E2B_API_KEY", raising=False)
    keep_variables(settings)
    older = {"E2B_API_KEY": "of an older supervisor", SERVICE: "chat-api"}
    found = with_kept_variables(older, settings)
    assert "E2B_API_KEY" not in found and found[SERVICE] == "chat-api"


def test_kept_variables_can_be_read_by_their_owner_only(settings: Settings) -> None:
    keep_variables(settings)
    assert (run_directory(settings) / "variables.json").stat().st_mode & 0o777 == 0o600
