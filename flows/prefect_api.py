"""The few calls to Prefect's API that the runner and the reconciler make, over one shared client."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import FlowRunCreate
from prefect.client.schemas.objects import FlowRun, State
from prefect.exceptions import PrefectHTTPStatusError
from prefect.states import Cancelling, Pending, to_state_create

from flows.flow_runs import FLOWS

PAGE = 200


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose flow runs these are, as tags. A sweep finds an installation's runs by them."""

    stack_id: str
    instance_id: uuid.UUID

    @property
    def stack_tag(self) -> str:
        return f"stack:{self.stack_id}"

    @property
    def instance_tag(self) -> str:
        return f"instance:{self.instance_id}"

    def tags(self, run_id: uuid.UUID) -> list[str]:
        return ["capibara6", f"run:{run_id}", self.stack_tag, self.instance_tag]


def is_outage(error: Exception) -> bool:
    """Whether an error means that Prefect is away, not that it refused something."""
    if isinstance(error, httpx.HTTPStatusError):
        return error.response.status_code >= 500
    return isinstance(error, httpx.TransportError | OSError)


class PrefectApi:
    def __init__(self, client: PrefectClient, origin: Origin) -> None:
        self._client = client
        self._origin = origin
        self._flow_ids: dict[str, uuid.UUID] = {}

    async def answers(self) -> bool:
        """Whether the server is up and healthy."""
        try:
            reply = await self._client.request("GET", "/health")
        except Exception:
            return False
        return reply.status_code == 200

    async def create_run(
        self,
        kind: str,
        run_id: uuid.UUID,
        conversation_id: uuid.UUID | None,
        state: State[Any] | None = None,
        labels: Sequence[str] = (),
    ) -> FlowRun:
        """The flow run of one of our runs: a new one, or the one made before (the run's id is its idempotency key)."""
        try:
            return await self._create(kind, run_id, conversation_id, state, labels)
        except PrefectHTTPStatusError as error:
            if error.response.status_code not in {404, 409, 422} or kind not in self._flow_ids:
                raise
        self._flow_ids.clear()  # Prefect's database was made anew: its flows have other ids now
        return await self._create(kind, run_id, conversation_id, state, labels)

    async def _create(
        self,
        kind: str,
        run_id: uuid.UUID,
        conversation_id: uuid.UUID | None,
        state: State[Any] | None,
        labels: Sequence[str],
    ) -> FlowRun:
        flow = FLOWS[kind]
        if kind not in self._flow_ids:
            self._flow_ids[kind] = await self._client.create_flow_from_name(flow.name)
        wanted = FlowRunCreate(
            flow_id=self._flow_ids[kind],
            flow_version=flow.version,
            name=f"{kind}-{run_id}",
            parameters={"run_id": str(run_id), "conversation_id": str(conversation_id)},
            tags=[*self._origin.tags(run_id), *labels],
            idempotency_key=str(run_id),
            state=to_state_create(state or Pending()),
        )
        reply = await self._client.request(
            "POST", "/flow_runs/", json=wanted.model_dump(mode="json", exclude_unset=True)
        )
        return FlowRun.model_validate(reply.json())

    async def force_state(self, flow_run_id: uuid.UUID, state: State[Any]) -> None:
        await self._client.set_flow_run_state(flow_run_id, state, force=True)

    async def schedule_batch(
        self,
        deployment: str,
        run_id: uuid.UUID,
        parameters: Mapping[str, Any] | None = None,
        *,
        labels: Sequence[str] = (),
    ) -> uuid.UUID:
        """A flow run of a deployment (`flow/name`), whose worker takes it when a place is free. Returns its id.

        parameters: its own, beside the run's id. labels: further tags of it.
        """
        found = await self._client.read_deployment_by_name(deployment)
        flow_run = await self._client.create_flow_run_from_deployment(
            found.id,
            parameters={**(parameters or {}), "run_id": str(run_id)},
            name=f"{deployment.partition('/')[0]}-{run_id}",
            tags=["capibara6", f"run:{run_id}", *labels],  # not the stack's: a chat API that starts would sweep it
            idempotency_key=str(run_id),
        )
        return flow_run.id

    async def cancel(self, flow_run_id: uuid.UUID) -> None:
        """Asks whoever runs it to stop it."""
        await self._client.set_flow_run_state(flow_run_id, Cancelling())

    async def states_among(self, flow_run_ids: Collection[uuid.UUID]) -> dict[uuid.UUID, State[Any]]:
        """The states of these flow runs (at most PAGE); one that Prefect does not know is left out."""
        found = await self._filter({"id": {"any_": [str(one) for one in flow_run_ids]}})
        return {flow_run.id: flow_run.state or Pending() for flow_run in found}

    async def cancelled_among(self, flow_run_ids: Iterable[uuid.UUID]) -> set[uuid.UUID]:
        """Those of these flow runs that somebody cancelled in Prefect."""
        found = await self._filter(
            {
                "id": {"any_": [str(one) for one in flow_run_ids]},
                "state": {"type": {"any_": ["CANCELLING", "CANCELLED"]}},
            }
        )
        return {flow_run.id for flow_run in found}

    async def open_of_earlier_instances(self) -> list[FlowRun]:
        """This stack's flow runs that some earlier process left open."""
        found = await self._filter(
            {
                "tags": {"all_": [self._origin.stack_tag]},
                "state": {"type": {"any_": ["PENDING", "RUNNING", "CANCELLING", "SCHEDULED"]}},
            }
        )
        return [flow_run for flow_run in found if self._origin.instance_tag not in flow_run.tags]

    async def _filter(self, flow_runs: dict[str, Any]) -> Sequence[FlowRun]:
        reply = await self._client.request("POST", "/flow_runs/filter", json={"flow_runs": flow_runs, "limit": PAGE})
        return [FlowRun.model_validate(one) for one in reply.json()]
