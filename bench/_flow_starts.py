"""How soon a flow that is begun by its name is taken, and how soon its first line runs.

For `bench workflows`: asked of a chat API whose Prefect, model server, sandboxes and TTS server stand beside it. One
run at a time, kinds in rotation, so that company meets all of them. Of each run:

- `accepted`: from sending the request to the whole of its 202;
- `work_began`: from sending it to the beginning of the run's first step, as our rows have it;
- `first_line`: from sending it to the flow run's Running state, which Prefect notes as its body begins.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from bench._streams import milliseconds

ACCEPTED_AIM_MS, FIRST_LINE_AIM_MS = 50.0, 1000.0
ENDED = frozenset({"completed", "failed", "cancelled", "crashed"})
LOOK_SECONDS = 0.1
END_SECONDS = 120.0
WARM_UPS = 3
ASKED: Mapping[str, Mapping[str, Any]] = {
    "chat": {"message": "Hola", "tools": False, "max_tokens": 8},
    "code": {"code": "print(1)"},
    "speech": {"text": "Hola."},
}


@dataclass(frozen=True, slots=True)
class Started:
    """Seconds since the request was sent."""

    accepted: float
    work_began: float
    first_line: float


async def flow_starts(
    chat_url: str,
    prefect_url: str,
    *,
    times: int,
    asked: Mapping[str, Mapping[str, Any]] = ASKED,
    key: str | None = None,
    prefect_auth: tuple[str, str] | None = None,
) -> dict[str, Any]:
    """The figures of each flow, with its aims. Raises RuntimeError when a run did not end well, or was not recorded."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    found: dict[str, list[Started]] = {name: [] for name in asked}
    async with (
        httpx.AsyncClient(base_url=chat_url, headers=headers, timeout=60, trust_env=False) as chat,
        httpx.AsyncClient(base_url=f"{prefect_url}/api", auth=prefect_auth, timeout=60, trust_env=False) as prefect,
    ):
        for number in range(-WARM_UPS, times):
            names = list(asked)
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                started = await _one(chat, prefect, name, asked[name])
                if number >= 0:
                    found[name].append(started)
    return {name: figures(starts) for name, starts in found.items()}


def figures(starts: list[Started]) -> dict[str, Any]:
    """Pure."""
    told: dict[str, Any] = {
        part: milliseconds([getattr(one, part) for one in starts]) for part in ("accepted", "work_began", "first_line")
    }
    for part, aim in (("accepted", ACCEPTED_AIM_MS), ("first_line", FIRST_LINE_AIM_MS)):
        told[part] |= {"aim_median_ms": aim, "met": told[part]["median_ms"] <= aim}
    return {"n": len(starts), **told}


async def _one(
    chat: httpx.AsyncClient, prefect: httpx.AsyncClient, name: str, parameters: Mapping[str, Any]
) -> Started:
    sent_at, sent = time.time(), time.perf_counter()
    reply = await chat.post(f"/api/flows/{name}/runs", json={"parameters": parameters})
    accepted = time.perf_counter() - sent
    if reply.status_code != 202:
        raise RuntimeError(f"{name}: {reply.status_code} {reply.text[:500]}")
    run = await _recorded(chat, reply.json()["status_url"])
    if run["status"] != "completed":
        raise RuntimeError(f"{name}: {run['status']}, {run['error']}")
    flow_run = (await prefect.get(f"/flow_runs/{run['prefect_flow_run_id']}")).raise_for_status().json()
    began = min(step["started_at"] for step in run["steps"])
    return Started(accepted, _moment(began) - sent_at, _moment(flow_run["start_time"]) - sent_at)


async def _recorded(chat: httpx.AsyncClient, url: str) -> dict[str, Any]:
    """The run as it ended, once Prefect shows that, too: the next one meets a machine at rest."""
    deadline = time.monotonic() + END_SECONDS
    while True:
        run: dict[str, Any] = (await chat.get(url)).raise_for_status().json()
        if run["status"] in ENDED and run["prefect_recorded"]:
            return run
        if time.monotonic() > deadline:
            raise RuntimeError(f"{url} was {run['status']} and not recorded within {END_SECONDS:.0f} s")
        await asyncio.sleep(LOOK_SECONDS)


def _moment(text: str) -> float:
    return datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()
