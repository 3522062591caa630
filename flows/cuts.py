"""What retention removes: from which moment on things are past their time, and how that is told. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from stack.settings import Settings

N8N = "n8n prunes its own executions (its settings say how old they may become)."


@dataclass(frozen=True, slots=True)
class Cuts:
    """Everything before is past its time; None: nothing is."""

    runs: datetime | None
    conversations: datetime | None
    files: datetime | None
    flow_runs: datetime | None


@dataclass(frozen=True, slots=True)
class Removed:
    """How many there were before the cut; None where nothing is ever removed, or it could not be counted (`reason`)."""

    what: str
    before: datetime | None
    count: int | None
    setting: str
    reason: str = ""


def cuts_of(settings: Settings, now: datetime) -> Cuts:
    def days(count: int) -> datetime | None:
        return now - timedelta(days=count) if count else None

    return Cuts(
        runs=days(settings.run_retention_days),
        conversations=days(settings.conversation_retention_days),
        files=now - timedelta(seconds=settings.file_retention_seconds),
        flow_runs=days(settings.prefect_retention_days),
    )


def retention_told(removed: list[Removed], *, dry_run: bool) -> str:
    verb = "would be removed" if dry_run else "removed"
    lines = [f"| what | before | {verb} | setting |", "| --- | --- | --- | --- |"]
    for one in removed:
        before = one.before.isoformat(timespec="minutes") if one.before else "never"
        count = one.reason or ("" if one.count is None else str(one.count))
        lines.append(f"| {one.what} | {before} | {count} | {one.setting} |")
    head = "# Retention (dry run: nothing was removed)" if dry_run else "# Retention"
    return "\n".join([head, "", *lines, "", N8N, ""])
