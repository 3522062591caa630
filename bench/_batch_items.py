"""A batch of questions beside a chat: items a second, and what the chat's first token takes alone and meanwhile."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import httpx

from bench._beside import beside
from bench._chat_stack import ChatStack, wait_until
from bench._streams import milliseconds

SLOWER_AIM = 2.0  # times as long as alone, the median
PAUSE_SECONDS = 0.2  # between an answer and the next question
WARM_UP_ASKS = 5
ENDED = {"completed", "failed", "cancelled", "crashed"}
QUESTION = {"message": "Name a colour that you like.", "tools": False, "stream": True}


def batch_items(stack: ChatStack, *, items: int = 500, asks: int = 60) -> dict[str, Any]:
    """One batch through the flow worker, which is started for it, and one chat that goes on asking: before, meanwhile
    (until the batch has ended), and after. asks: of each; meanwhile as many as there is time for.
    """
    chat = stack.topology.url("chat-api")
    with (
        beside(stack, ("flow-worker",)),
        httpx.Client(base_url=chat, timeout=60, trust_env=False) as http,
    ):
        first_tokens(http, lambda asked: asked < WARM_UP_ASKS)
        before = first_tokens(http, lambda asked: asked < asks)
        asked_at = time.perf_counter()
        parameters = {"items": [{"id": str(number), "message": f"Number {number}"} for number in range(items)]}
        reply = http.post("/api/flows/chat-batch/runs", json={"parameters": parameters})
        reply.raise_for_status()
        run_id = reply.json()["run_id"]
        wait_until(lambda: bool(_counts(http, run_id)["completed"]), "the batch's first item")
        begun_at = time.perf_counter()
        meanwhile = first_tokens(http, lambda _: _is_open(http, run_id))
        run = _run(http, run_id)
        ended_at = time.perf_counter()
        after = first_tokens(http, lambda asked: asked < asks)
        counts = _counts(http, run_id)
    if run["status"] != "completed" or counts["completed"] != items:
        raise RuntimeError(f"the batch is {run['status']}: {json.dumps(run)[:1000]}")
    slower = statistics.median(meanwhile) / statistics.median(before + after)
    return {
        "items": items,
        "at_once": stack.settings.chat_batch_items_at_once,
        "first_item_seconds": round(begun_at - asked_at, 2),
        "items_per_second": round(items / (ended_at - begun_at), 2),
        "first_token": {
            "alone": milliseconds(before + after),
            "meanwhile": milliseconds(meanwhile),
            "asks": {"alone": len(before) + len(after), "meanwhile": len(meanwhile)},
        },
        "times_as_long": round(slower, 2),
        "aim": SLOWER_AIM,
        "met": slower <= SLOWER_AIM,
    }


def first_tokens(http: httpx.Client, more: Callable[[int], bool]) -> list[float]:
    """Seconds to the first token of one chat after the other. more: whether to ask again, by how many were asked."""
    taken: list[float] = []
    while more(len(taken)):
        began = time.perf_counter()
        with http.stream("POST", "/api/chat/stream", json=QUESTION) as reply:
            reply.raise_for_status()
            first = None
            for line in reply.iter_lines():
                if first is None and line.startswith("data:") and json.loads(line[5:]).get("type") == "token":
                    first = time.perf_counter() - began
        if first is None:
            raise RuntimeError("an answer had no token")
        taken.append(first)
        time.sleep(PAUSE_SECONDS)
    return taken


def _run(http: httpx.Client, run_id: str) -> dict[str, Any]:
    told: dict[str, Any] = http.get(f"/api/runs/{run_id}").json()
    return told


def _is_open(http: httpx.Client, run_id: str) -> bool:
    return _run(http, run_id)["status"] not in ENDED


def _counts(http: httpx.Client, run_id: str) -> dict[str, Any]:
    told: dict[str, Any] = http.get(f"/api/runs/{run_id}/items", params={"limit": 1}).json()
    return told
