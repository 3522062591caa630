"""Where the run of the request in hand comes from."""

from __future__ import annotations

from typing import TypedDict

from db.records import RunOrigin
from wire.context import current


class Provenance(TypedDict):
    """Fields of `db.records.NewRun` and `db.queued.NewQueued`."""

    origin: RunOrigin
    n8n_execution_id: str | None
    n8n_workflow_id: str | None


def provenance(otherwise: RunOrigin) -> Provenance:
    """n8n where an execution of it asks; else `otherwise`."""
    n8n = current().n8n
    if n8n is None:
        return {"origin": otherwise, "n8n_execution_id": None, "n8n_workflow_id": None}
    return {"origin": "n8n", "n8n_execution_id": n8n.execution_id, "n8n_workflow_id": n8n.workflow_id}


def labels() -> tuple[str, ...]:
    """Tags of the flow run of a run by name (`flows.link.labels_of`), which another process works on."""
    known = provenance("api")
    execution = (f"n8n:{known['n8n_execution_id']}",) if known["n8n_execution_id"] else ()
    return (f"origin:{known['origin']}", *execution)
