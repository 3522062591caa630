"""What n8n and flows add: a chat by webhook, the start of a flow, a batch beside chats, and events that are told.

    python -m bench.workflows [--asks 60] [--events 1000] [--items 500] [--parts webhook …] [--json FILE]

Starts a stack of its own, all of it real (Postgres, Prefect, chat API, MCP servers, model server, n8n) but for the
engine, a stub that answers at once. In the same run, in rotating order:

- `webhook`: Webhook → our chat → Respond, beside Webhook → Respond on the same n8n, one after the other. Aim: 60 ms
  added, the median. `direct`: the same question to the chat API without n8n.
- `flow_starts`: chat, code and speech by `POST /api/flows/{name}/runs`. Aims: 202 in 50 ms, the flow's first line in
  one second, both medians.
- `callbacks`: 1,000 runs that end while their receiver is down for a while, twice. Aim: none lost, none out of order.
- `batch`: 500 items of one batch, and a chat that goes on meanwhile. Aim: first token at most twice as late.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from bench._batch_items import batch_items
from bench._beside import beside
from bench._callbacks import callbacks
from bench._chat_stack import ChatStack, chat_stack
from bench._flow_starts import flow_starts
from bench._n8n_stack import n8n_beside, publish, respond, webhook
from bench._streams import milliseconds, report
from bench.proxy import free_port
from db.urls import database_url
from n8n.api import N8n

PARTS = ("webhook", "flow_starts", "callbacks", "batch")
ADDED_AIM_MS = 60.0
WARM_UP_ASKS = 10
PAUSE_SECONDS = 0.3  # n8n answers first and keeps its execution after that: the next one meets a machine at rest
QUESTION = {"message": "Hello", "max_tokens": 1, "tools": False}


def webhooks(stack: ChatStack, n8n: N8n, asks: int) -> dict[str, Any]:
    chat = f"{stack.topology.url('chat-api')}/api/chat"
    request = {
        "name": "Chat",
        "type": "n8n-nodes-base.httpRequest",
        "typeVersion": 4.2,
        "parameters": {
            "method": "POST",
            "url": chat,
            "sendBody": True,
            "specifyBody": "json",
            "jsonBody": json.dumps(QUESTION),
        },
    }
    urls = {
        "bare": publish(n8n, stack, "bare", [webhook("bare"), respond("{ answer: $json.body }")]),
        "chat": publish(n8n, stack, "chat", [webhook("chat"), request, respond("{ answer: $json.response }")]),
        "direct": chat,
    }
    taken: dict[str, list[float]] = {name: [] for name in urls}
    with httpx.Client(timeout=60, trust_env=False) as http:
        for number in range(-WARM_UP_ASKS, asks):
            names = list(urls)
            turn = number % len(names)
            for name in names[turn:] + names[:turn]:
                began = time.perf_counter()
                reply = http.post(urls[name], json=QUESTION)
                seconds = time.perf_counter() - began
                time.sleep(PAUSE_SECONDS)
                if reply.status_code != 200:
                    raise RuntimeError(f"{name}: {reply.status_code} {reply.text[:300]}")
                if number >= 0:
                    taken[name].append(seconds)
    medians = {name: statistics.median(seconds) * 1000 for name, seconds in taken.items()}
    added = medians["chat"] - medians["bare"]
    return {
        **{name: milliseconds(seconds) for name, seconds in taken.items()},
        "added_median_ms": round(added, 1),
        "of_that_our_api_ms": round(medians["direct"], 1),
        "ratio_to_bare": round(medians["chat"] / medians["bare"], 2),
        "aim_ms": ADDED_AIM_MS,
        "met": added <= ADDED_AIM_MS,
    }


def everything(stack: ChatStack, given: argparse.Namespace) -> dict[str, Any]:
    told: dict[str, Any] = {}

    def note(name: str, figures: Mapping[str, Any]) -> None:
        told[name] = figures
        sys.stderr.write(f"{name}: {json.dumps(figures)}\n")

    chat = stack.topology.url("chat-api")
    if "webhook" in given.parts:
        with n8n_beside(stack) as n8n:
            note("webhook", webhooks(stack, n8n, given.asks))
    if "flow_starts" in given.parts:
        with beside(stack, ("sandbox-gateway", "tts-server")):
            prefect = stack.topology.url("prefect-server")
            note("flow_starts", asyncio.run(flow_starts(chat, prefect, times=given.asks)))
    if "callbacks" in given.parts:
        url = database_url(stack.settings, stack.secrets)
        note("callbacks", asyncio.run(callbacks(chat, url, events=given.events, port=free_port())))
    if "batch" in given.parts:
        note("batch", batch_items(stack, items=given.items, asks=given.asks))
    return told


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="./capibara6 bench workflows", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--asks", type=int, default=60)
    parser.add_argument("--events", type=int, default=1000)
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    load = os.getloadavg()[0]
    with chat_stack() as stack:
        told = everything(stack, given)
    machine = {"cores": os.cpu_count(), "load_before": round(load, 1)}
    report({"bench": "workflows", "machine": machine, **told}, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
