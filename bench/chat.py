"""Chats against the model server beside them, tools over MCP, and how many turns a second history takes.

    python -m bench.chat [--rounds 3] [--asks 12] [--tool-calls 200] [--seconds 8] [--json FILE]

Starts a stack of its own, all of it real (Postgres, Prefect, chat API, MCP servers, model server) but for the engine,
a stub that streams 32 tokens 10 ms apart. In the same run, in rotating order:

- `first_token`: of `/api/chat/stream` and of 8082 directly, one chat and 16 at once. All 16 ask at the same moment and
  again when all are answered (`together`), or each for itself, pauses between (`going_on`). Aims: 15 and 60 ms added.
- `tools`: a round trip over MCP without the tool's own time, aim 10 ms; as a Prefect task of a standing flow run; by
  the SDK's client in both eras of the protocol.
- `history`: turns a second with an engine that answers at once, with Prefect beside and without.
- `calls`: what a turn asks before its model, each by itself.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, get_args

from bench._chat_client import WITH_TOOLS, WITHOUT_TOOLS, Kind, Plan
from bench._chat_figures import added, lag, met, parts_of_first_token
from bench._chat_rows import kept_since, now, parts_since
from bench._chat_stack import ChatStack, chat_stack, wait_until
from bench._streams import milliseconds, report
from bench._tool_calls import measure, tool_calls
from flows.chat import both
from stack.settings import REPOSITORY
from wire.clients.models import ModelServerClient
from wire.clients.smart import SmartToolsClient

CHATS = 16
AIMS_MS = {1: 15.0, CHATS: 60.0}
SETTLE_SECONDS = {1: 0.4, CHATS: 1.5}  # a turn's bookkeeping goes on after its answer, Prefect's above all
PAUSE_SECONDS = 2.0  # between a chat's answer and its next question, on average
SWITCH_SECONDS = 0.0005  # as services_node.chat_api.__main__
CATCH_UP_SECONDS = 180.0
WARM_UP_ASKS = 3
ASK_SECONDS = 900.0
SMALL = {"model": "stub", "messages": [{"role": "user", "content": WITH_TOOLS}]}


def ask(plan: Plan) -> dict[str, Any]:
    """One run of the client. Raises RuntimeError when an answer was wrong."""
    command = [sys.executable, "-m", "bench._chat_client"]
    told_plan = json.dumps(asdict(plan))
    done = subprocess.run(
        command, cwd=REPOSITORY, input=told_plan, capture_output=True, text=True, timeout=ASK_SECONDS, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr[-2000:])
    told: dict[str, Any] = json.loads(done.stdout)
    if told["failure"]:
        raise RuntimeError(f"{plan}: {told['failure']}")
    return told


def first_tokens(stack: ChatStack, streams: int, rounds: int, asks: int, *, together: bool) -> dict[str, Any]:
    """All kinds of chats and the model server directly, in rotating order, so that company meets all of them."""
    kinds: list[Kind] = list(get_args(Kind))
    taken: dict[str, list[list[float]]] = {kind: [] for kind in kinds}
    stored: dict[str, list[dict[str, float | None]]] = {kind: [] for kind in kinds}
    for number in range(-1, rounds):
        turn = number % len(kinds)
        for kind in kinds[turn:] + kinds[:turn]:
            plan = Plan(
                port=stack.topology.port("model-server" if kind == "direct" else "chat-api"),
                kind=kind,
                streams=streams,
                asks=asks if number >= 0 else WARM_UP_ASKS,
                together=together,
                pause_seconds=SETTLE_SECONDS[streams] if together else PAUSE_SECONDS,
            )
            since = now(stack)
            told = ask(plan)
            if number >= 0:
                taken[kind].append(told["first_token_seconds"])
                stored[kind] += parts_since(stack, since)
    figures = added(taken, "direct")
    for kind in kinds:
        if kind != "direct":
            figures[kind] |= met(figures[kind]["added_median_ms"], AIMS_MS[streams])
            everything = [seconds for found in taken[kind] for seconds in found]
            figures[kind]["parts_median_ms"] = parts_of_first_token(stored[kind], everything)
    return figures


def turns_a_second(stack: ChatStack, seconds: float, *, prefect: bool) -> dict[str, Any]:
    """As many turns as 16 chats get that ask again at once, the engine answering at once with one token."""
    since, port = now(stack), stack.topology.port("chat-api")
    told = ask(Plan(port, "chat", CHATS, 1_000_000, tokens=1, seconds=seconds))
    ended = time.monotonic()
    kept, recorded = kept_since(stack, since)
    figures = {
        "turns_per_second": round(told["answers"] / told["seconds"], 1),
        "turns": told["answers"],
        "rows_of_them": kept,
        "first_token": milliseconds(told["first_token_seconds"]),
    }
    if prefect:
        figures["share_prefect_lags_behind"] = lag(kept, recorded)
        wait_until(lambda: kept_since(stack, since)[1] >= kept, "Prefect has caught up", CATCH_UP_SECONDS)
        whole = told["seconds"] + time.monotonic() - ended
        figures["prefect_runs_per_second"] = round(kept / whole, 1)
        figures["prefect_caught_up_after_seconds"] = round(time.monotonic() - ended, 1)
    return figures


async def calls_by_themselves(stack: ChatStack, times: int) -> dict[str, Any]:
    """What a turn asks before its model is called, one after the other and as it does: side by side."""
    models = ModelServerClient(stack.topology.url("model-server"))
    smart = SmartToolsClient(stack.topology.url("smart-mcp"))

    async def first_chunk() -> None:
        async with models.stream_chat({**SMALL, "max_tokens": 1}) as stream:
            async for chunk in stream.chunks:
                if any(choice["delta"].get("content") for choice in chunk["choices"]):
                    return

    try:
        offered = [tool["name"] for tool in await smart.select(WITH_TOOLS, limit=4, allowed=None)]
        if not offered or await smart.select(WITHOUT_TOOLS, limit=4, allowed=None):
            raise RuntimeError(f"the questions are not what they are to be: {offered} for {WITH_TOOLS!r}")
        acts = {
            "route": lambda: models.route(SMALL),
            "tools_chosen": lambda: smart.select(WITH_TOOLS, limit=4, allowed=None),
            "route_and_tools_side_by_side": lambda: both(
                models.route(SMALL), smart.select(WITH_TOOLS, limit=4, allowed=None)
            ),
            "model_first_chunk": first_chunk,
        }
        taken = await measure(acts, times)
    finally:
        await models.close()
        await smart.close()
    return {"tools_offered": offered, **{name: milliseconds(seconds) for name, seconds in taken.items()}}


def everything(stack: ChatStack, given: argparse.Namespace) -> dict[str, Any]:
    told: dict[str, Any] = {}

    def note(name: str, figures: Mapping[str, Any]) -> None:
        told[name] = figures
        sys.stderr.write(f"{name}: {json.dumps(figures)}\n")

    note("calls", asyncio.run(calls_by_themselves(stack, given.tool_calls)))
    note("first_token_1", first_tokens(stack, 1, given.rounds, 2 * given.asks, together=True))
    note("first_token_16_together", first_tokens(stack, CHATS, given.rounds, given.asks, together=True))
    note("first_token_16_going_on", first_tokens(stack, CHATS, given.rounds, given.asks, together=False))
    note("tools", asyncio.run(tool_calls(stack, given.tool_calls)))
    with_prefect = turns_a_second(stack, given.seconds, prefect=True)
    stack.stop_prefect()
    ask(Plan(stack.topology.port("chat-api"), "chat", 1, 1))  # which notices it
    stack.wait_for_prefect(there=False)
    note("history", {"with_prefect": with_prefect, "without": turns_a_second(stack, given.seconds, prefect=False)})
    return told


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="./capibara6 bench chat", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--asks", type=int, default=12, help="questions of each chat in a round")
    parser.add_argument("--tool-calls", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=8, help="how long turns are made as fast as they go")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    sys.setswitchinterval(SWITCH_SECONDS)
    load = os.getloadavg()[0]
    with chat_stack() as stack:
        told = everything(stack, given)
    machine = {"cores": os.cpu_count(), "load_before": round(load, 1)}
    report({"bench": "chat", "machine": machine, "rounds": given.rounds, **told}, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
