"""Median time to first token of (a) the vLLM engine directly, (b) 8082, (c) `/api/chat/stream` with its flow run.

    python -m bench.first_token [--requests 40] [--model ID] [--without-chat] [--json FILE]

One question each in turn, in an order that rotates, so that what one leaves behind meets all of them alike. On a
machine doing nothing else (b) - (a) is to be at most 3 ms and (c) - (b) at most 15 ms.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from bench._streams import (
    chat_first_token,
    chat_request,
    client,
    milliseconds,
    openai_first_token,
    operator_headers,
    question,
    report,
)
from stack.settings import get_settings
from stack.topology import load_topology

MAX_TOKENS = 4
WARM_UP = 3
SETTLE_SECONDS = 0.5  # a turn's bookkeeping goes on after its answer: the next measurement is not to pay for it

Ask = Callable[[], float]


def measure(asks: dict[str, Ask], requests: int) -> dict[str, list[float]]:
    """Seconds to first token by name, `requests` of each after a warm-up, one after the other in rotating order."""
    names = list(asks)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for number in range(-WARM_UP, requests):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            time.sleep(SETTLE_SECONDS)
            seconds = asks[name]()
            if number >= 0:
                taken[name].append(seconds)
    return taken


def summarise(taken: dict[str, list[float]]) -> dict[str, Any]:
    """Medians, 90th percentiles, and the differences of neighbours' medians, in milliseconds."""
    told = {name: milliseconds(seconds) for name, seconds in taken.items()}
    names = list(taken)
    differences = {
        f"{later}_minus_{earlier}_ms": round(told[later]["median_ms"] - told[earlier]["median_ms"], 2)
        for earlier, later in itertools.pairwise(names)
    }
    return {**told, **differences}


def engine_socket(models: httpx.Client, model: str) -> Path:
    """Loads the model if need be. Raises RuntimeError when the server does not tell the engine's socket."""
    models.post(f"/models/{model}/load").raise_for_status()
    for engine in models.get("/stats").raise_for_status().json()["engines"]:
        if engine["model"] == model and engine["socket"]:
            return Path(engine["socket"])
    raise RuntimeError(f"{model} has no socket in /stats: it is remote, or this key is not an operator's")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.first_token")
    parser.add_argument("--requests", type=int, default=40)
    parser.add_argument("--model", help="default: the one that `auto` gets")
    parser.add_argument("--without-chat", action="store_true", help="leave (c) out: only the model server runs")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args(arguments)
    settings = get_settings()
    topology = load_topology(settings)
    models = client(topology.url("model-server"), headers=operator_headers(settings, "model-server"))
    chat = client(topology.url("chat-api"), headers=operator_headers(settings, "chat-api"))
    model = options.model or models.post("/v1/route", json={}).raise_for_status().json()["model"]
    engine = client("http://engine", socket=engine_socket(models, model))
    asks: dict[str, Ask] = {
        "engine": lambda: openai_first_token(engine, chat_request(model, MAX_TOKENS)),
        "model_server": lambda: openai_first_token(models, chat_request(model, MAX_TOKENS)),
    }
    if not options.without_chat:
        asks["chat_stream"] = lambda: chat_first_token(
            chat,
            {"message": question(), "model": model, "max_tokens": MAX_TOKENS, "temperature": 0, "stream": True},
        )
    taken = measure(asks, options.requests)
    report({"bench": "first_token", "model": model, "requests": options.requests, **summarise(taken)}, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
