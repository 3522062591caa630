"""The one table of what the flow worker does for Prefect: each deployment, its schedule, and how many at once.

Pure: `deploying` writes it to Prefect when the worker starts.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any
from zoneinfo import ZoneInfo

from db.runs import BATCH, CHAT_BATCH, DIGEST, RETENTION, ROUTING_EVALUATION, SPEECH_BATCH, WARM_UP
from stack.errors import ConfigurationError
from stack.settings import OFF, Settings

TAG = "capibara6"
SERVED_TAG = "served-by:flow-worker"  # what has it, and is no row of this table any more, is removed
# Whose maintenance covers everybody's rows, and who may begin all of it; others have their own.
OPERATORS = frozenset({"local", "operator", "services"})
BATCH_TAG, MAINTENANCE_TAG = "batch", "maintenance"


@dataclass(frozen=True, slots=True)
class Deployment:
    """name: of the deployment and of its flow. entrypoint: `module:function`. at_once: runs at the same time; Prefect
    keeps the rest waiting. cron: in `time_zone`; empty: no schedule. parameters: of scheduled runs. variable: the
    setting that the cron comes from. catches_up: what was due while nothing ran is done all the same.
    """

    name: str
    entrypoint: str
    description: str
    at_once: int
    tags: tuple[str, ...]
    cron: str = ""
    time_zone: str = "UTC"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    variable: str = ""
    catches_up: bool = False

    @property
    def full_name(self) -> str:
        return f"{self.name}/{self.name}"

    @property
    def all_tags(self) -> list[str]:
        return [TAG, SERVED_TAG, *self.tags]


def deployments(settings: Settings) -> tuple[Deployment, ...]:
    """Raises ConfigurationError for a time zone that there is none of."""
    zone = _time_zone(settings.time_zone)
    return (
        Deployment(
            CHAT_BATCH,
            "flows.chat_batch:chat_batch",
            "Questions of a JSON Lines or CSV file, each asked of a model by itself, behind whoever chats.",
            settings.chat_batch_at_once,
            (BATCH_TAG, "chat"),
        ),
        Deployment(
            BATCH,
            "flows.code_batch:code_batch",
            "Pieces of code, one after the other, each in a sandbox of its own.",
            settings.code_batch_at_once,
            (BATCH_TAG, "code"),
        ),
        Deployment(
            SPEECH_BATCH,
            "flows.speech_batch:speech_batch",
            "A document, spoken part by part into one file.",
            settings.speech_batch_at_once,
            (BATCH_TAG, "speech"),
        ),
        Deployment(
            DIGEST,
            "flows.digest:digest",
            "What was said and done in a day: conversations, runs, failures and their reasons, models.",
            1,
            (MAINTENANCE_TAG, "report"),
            _cron(settings.digest_cron),
            zone,
            variable="CAPIBARA6_DIGEST_CRON",
            catches_up=True,  # each is of a day of its own
        ),
        Deployment(
            RETENTION,
            "flows.retention:retention",
            "Removes runs, conversations, files and Prefect's flow runs that are past their time.",
            1,
            (MAINTENANCE_TAG, "clean-up"),
            _cron(settings.retention_cron),
            zone,
            {"dry_run": False},
            "CAPIBARA6_RETENTION_CRON",
        ),
        Deployment(
            ROUTING_EVALUATION,
            "flows.routing_evaluation:routing_evaluation",
            "Routes recent questions anew and compares the choice with the model that answered then.",
            1,
            (MAINTENANCE_TAG, "report"),
            _cron(settings.routing_evaluation_cron),
            zone,
            variable="CAPIBARA6_ROUTING_EVALUATION_CRON",
        ),
        Deployment(
            WARM_UP,
            "flows.warm_up:warm_up",
            "Loads models before anybody asks them.",
            1,
            (MAINTENANCE_TAG, "models"),
            _cron(settings.warm_up_cron),
            zone,
            variable="CAPIBARA6_WARM_UP_CRON",
        ),
    )


@dataclass(frozen=True, slots=True)
class KnownSchedule:
    """A schedule as Prefect has it."""

    cron: str | None
    time_zone: str | None
    active: bool


def stays_paused(wanted: Deployment, known: Collection[KnownSchedule]) -> bool:
    """Whether somebody paused this very schedule in Prefect's pages: a restart of ours does not wake it."""
    same = [one for one in known if one.cron == wanted.cron and (one.time_zone or "UTC") == wanted.time_zone]
    return bool(same) and not any(one.active for one in same)


def gone(table: Collection[Deployment], known: Collection[str]) -> set[str]:
    """Of the deployments that a worker of ours wrote, those that are no row any more. known: `flow/deployment`."""
    return set(known) - {one.full_name for one in table}


def _cron(setting: str) -> str:
    return "" if setting == OFF else setting


def _time_zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ConfigurationError(
            f"CAPIBARA6_TIME_ZONE: there is no time zone {name!r}", "name one as `Europe/Madrid`"
        ) from None
    return name
