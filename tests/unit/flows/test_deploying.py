"""Which flow runs a worker takes over, with Prefect faked."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from flows import deploying
from flows.deploying import skip_late, take_over, take_over_all
from flows.deployments import deployments
from stack.settings import Settings

MINE, LEFT, UNWANTED = (str(uuid.uuid4()) for _ in range(3))
DEPLOYED = {"chat-batch": uuid.uuid4()}


class Client:
    """Tells what is open, and hears what is set."""

    def __init__(self) -> None:
        self.open = {MINE: "RUNNING", LEFT: "RUNNING", UNWANTED: "CANCELLING"}
        self.set: dict[str, str] = {}

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def request(self, method: str, path: str, json: Any) -> Any:
        assert path == "/flow_runs/filter" and json["flow_runs"]["deployment_id"] == {
            "any_": [str(one) for one in DEPLOYED.values()]
        }
        told = [
            {"id": one, "state_id": f"of {one}", "state_type": state}
            for one, state in self.open.items()
            if one not in self.set
        ]
        return type("Reply", (), {"json": lambda _: told})()

    async def set_flow_run_state(self, flow_run_id: uuid.UUID, state: Any, *, force: bool) -> None:
        assert force
        self.set[str(flow_run_id)] = state.type.value


class Runner:
    def in_hand(self) -> set[uuid.UUID]:
        return {uuid.UUID(MINE)}


@pytest.fixture
def client(monkeypatch: pytest.MonkeyPatch) -> Client:
    made = Client()
    monkeypatch.setattr(deploying, "get_client", lambda: made)
    return made


async def test_at_its_start_a_worker_begins_again_all_that_is_under_way_and_cancels_what_was_to_be(
    client: Client,
) -> None:
    await take_over_all(DEPLOYED)
    assert client.set == {MINE: "SCHEDULED", LEFT: "SCHEDULED", UNWANTED: "CANCELLED"}


async def test_later_what_no_process_is_at_is_begun_again_when_it_is_seen_twice(client: Client) -> None:
    runner: Any = Runner()
    seen = await take_over(runner, DEPLOYED, settled=set())
    assert seen == {f"of {LEFT}", f"of {UNWANTED}"} and not client.set
    await take_over(runner, DEPLOYED, settled={f"of {LEFT}", "another state"})
    assert client.set == {LEFT: "SCHEDULED"}


async def test_what_the_clock_should_have_begun_long_ago_is_cancelled_but_for_what_catches_up_or_somebody_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = deployments(Settings())
    ids = {one.name: uuid.uuid4() for one in table}

    class Late(Client):
        async def request(self, method: str, path: str, json: Any) -> Any:
            asked = json["flow_runs"]
            assert str(ids["digest"]) not in asked["deployment_id"]["any_"]
            assert str(ids["retention"]) in asked["deployment_id"]["any_"]
            ago = datetime.now(UTC) - datetime.fromisoformat(asked["expected_start_time"]["before_"])
            assert timedelta(seconds=599) < ago < timedelta(seconds=660)
            told = [{"id": MINE, "auto_scheduled": False}, {"id": LEFT, "auto_scheduled": True}]
            return type("Reply", (), {"json": lambda _: told})()

    client = Late()
    monkeypatch.setattr(deploying, "get_client", lambda: client)
    assert await skip_late(table, ids, 600) == 1
    assert client.set == {LEFT: "CANCELLED"}
