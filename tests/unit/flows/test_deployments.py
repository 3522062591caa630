"""The table of deployments, as the settings make it."""

from __future__ import annotations

import pytest

from db.runs import BATCHES
from flows.deploying import flow_of
from flows.deployments import Deployment, KnownSchedule, deployments, gone, stays_paused
from stack.errors import ConfigurationError
from stack.settings import Settings


def table(**settings: object) -> dict[str, Deployment]:
    return {one.name: one for one in deployments(Settings(**settings))}  # type: ignore[arg-type]


def test_every_kind_that_the_worker_does_is_deployed_and_its_flow_is_there() -> None:
    assert set(table()) == set(BATCHES)
    for one in table().values():
        assert flow_of(one.entrypoint).name == one.name and one.description and one.at_once >= 1


def test_what_asks_models_by_itself_is_off_until_it_is_wanted() -> None:
    assert {name for name, one in table().items() if one.cron} == {"digest", "retention"}
    wanted = table(warm_up_cron="30 7 * * 1-5", digest_cron="off", time_zone="Europe/Madrid")
    assert wanted["warm-up"].cron == "30 7 * * 1-5" and wanted["warm-up"].time_zone == "Europe/Madrid"
    assert not wanted["digest"].cron and table()["retention"].parameters == {"dry_run": False}


@pytest.mark.parametrize("cron", ["", "nightly", "* * * *", "* * * * * *", "1;2 * * * *"])
def test_what_is_no_cron_is_refused_with_the_setting(cron: str) -> None:
    with pytest.raises(ValueError, match="cron of five words"):
        Settings(digest_cron=cron)


@pytest.mark.parametrize("cron", ["*/5 * * * *", "0 8-18/2 * * MON-FRI", "1,31 0 1 1,7 *"])
def test_crons_are_taken(cron: str) -> None:
    assert Settings(digest_cron=cron).digest_cron == cron


def test_a_time_zone_that_there_is_none_of_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="Madrid"):
        table(time_zone="Madrid")


def test_a_schedule_that_somebody_paused_stays_paused_until_it_is_another() -> None:
    digest = table()["digest"]
    paused = KnownSchedule(digest.cron, "UTC", active=False)
    assert stays_paused(digest, [paused])
    assert not stays_paused(digest, []) and not stays_paused(digest, [KnownSchedule("1 1 * * *", "UTC", active=False)])
    assert not stays_paused(digest, [KnownSchedule(digest.cron, "UTC", active=True)])


def test_what_is_no_row_any_more_goes() -> None:
    rows = list(table().values())
    assert gone(rows, ["digest/digest", "digest/older", "other/other"]) == {"digest/older", "other/other"}
