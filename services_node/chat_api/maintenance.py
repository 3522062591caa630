"""The maintenance flows, begun by hand: what they are told, and who may."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import date
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, StrictBool

from db.runs import RETENTION, WARM_UP
from flows.deployments import OPERATORS
from services_node.chat_api.batches import ASK_SECONDS
from services_node.chat_api.parts import Parts
from services_node.chat_api.prepared import Prepared
from services_node.chat_api.provenance import labels
from wire.context import current
from wire.errors import Forbidden, ValidationFailed

OPERATORS_ONLY = frozenset({RETENTION, WARM_UP})


class DigestRequest(BaseModel):
    """day: of your own conversations and runs (an operator's digest: everybody's); left out: yesterday."""

    model_config = ConfigDict(extra="ignore")

    day: date | None = None


class RetentionRequest(BaseModel):
    """dry_run: it is counted what would be removed, and nothing is. For operators."""

    model_config = ConfigDict(extra="ignore")

    dry_run: StrictBool = True


class RoutingEvaluationRequest(BaseModel):
    """messages: how many of your newest questions are routed anew."""

    model_config = ConfigDict(extra="ignore")

    messages: Annotated[int, Field(strict=True, ge=1, le=1000)] | None = None


class WarmUpRequest(BaseModel):
    """models: those to load, in order; left out: CAPIBARA6_WARM_UP_MODELS. For operators."""

    model_config = ConfigDict(extra="ignore")

    models: Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=32)] | None = None


def prepare_maintenance(kind: str) -> Callable[[Parts, Any], Awaitable[Prepared]]:
    """What begins the flow of this name. Raises Forbidden."""

    async def prepare(parts: Parts, asked: BaseModel) -> Prepared:
        context = current()
        run_id, tags, operator = context.run_id, labels(), context.principal.name in OPERATORS
        if kind in OPERATORS_ONLY and parts.settings.profile == "production" and not operator:
            raise Forbidden(f"Only operators may begin {kind}.", code="operators_only")
        parameters = asked.model_dump(mode="json", exclude_none=True)
        if kind == WARM_UP and not (parameters.get("models") or parts.settings.warm_up_models.strip()):
            raise ValidationFailed(
                "Name the `models` to load, or set CAPIBARA6_WARM_UP_MODELS.", param="models", code="missing_field"
            )

        async def hand_on() -> None:
            flow_run_id = await parts.flows.ask(
                lambda api: api.schedule_batch(f"{kind}/{kind}", run_id, parameters, labels=tags), ASK_SECONDS
            )
            await parts.runs.link_flow(run_id, flow_run_id, recorded=False)

        return Prepared(hand_on)

    return prepare


REQUESTS: Mapping[str, type[BaseModel]] = {
    "digest": DigestRequest,
    RETENTION: RetentionRequest,
    "routing-evaluation": RoutingEvaluationRequest,
    WARM_UP: WarmUpRequest,
}
