"""Smart MCP: tokens of tool definitions, all of them against the chosen ones, and how well the choice is made.

    python -m bench.smart_tools [--limit 4] [--repeat 20] [--json FILE]

Over the MCP server's own tools and the labelled questions of bench/data/smart_questions, in one process. Tokens
are those of SmolLM2 (the packaged model's tokenizer) of the definitions as a chat request carries them: name,
description and parameters of each.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from statistics import mean
from typing import Any

from tokenizers import Tokenizer

from bench._smart_questions import Half, judge, read, tools
from bench._streams import milliseconds
from bench._streams import report as write_report
from models_node.catalogue import PACKAGED_WEIGHTS
from services_node.smart_mcp.descriptors import Descriptor
from services_node.smart_mcp.selection import Index
from stack.settings import get_settings

HALVES: tuple[Half, ...] = ("development", "held_out", "by_others")
Choose = Callable[[str], list[Descriptor]]


def definition(tool: Descriptor) -> dict[str, Any]:
    """As OpenAI's `tools` has it, and as chat templates print it."""
    function = {
        "name": tool.name,
        "description": tool.wire.get("description", ""),
        "parameters": tool.wire["inputSchema"],
    }
    return {"type": "function", "function": function}


def tokens_of(tools_: Sequence[Descriptor], count: Callable[[str], int]) -> int:
    return sum(count(json.dumps(definition(tool), ensure_ascii=False)) for tool in tools_)


def measured(choose: Choose, half: Half, count: Callable[[str], int], full: int, repeat: int) -> dict[str, Any]:
    questions = read(half)
    sent = {question.query: tokens_of(choose(question.query), count) for question in questions}
    needing = [sent[question.query] for question in questions if question.needs]
    seconds = []
    for _ in range(repeat):
        for question in questions:
            started = time.perf_counter()
            choose(question.query)
            seconds.append(time.perf_counter() - started)
    judged = judge(questions, lambda query: [tool.name for tool in choose(query)])
    return {
        **asdict(judged),
        "tokens_a_question": round(mean(sent.values()), 1),
        "tokens_where_a_tool_is_needed": round(mean(needing), 1),
        "ratio_to_all_tools": round(mean(sent.values()) / full, 3),
        "decision": milliseconds(seconds),
    }


def tokenizer_path() -> Path:
    """The packaged model's, made ready by the first `up`."""
    path = get_settings().home / "weights" / PACKAGED_WEIGHTS["smollm2-135m-instruct"] / "tokenizer.json"
    if not path.exists():
        raise SystemExit(f"{path} is not there: run ./capibara6 up once, which makes the packaged model ready")
    return path


def main() -> int:
    parser = argparse.ArgumentParser(prog="./capibara6 bench smart_tools", description=__doc__)
    parser.add_argument("--limit", type=int, default=4, help="tools offered at most (4)")
    parser.add_argument("--repeat", type=int, default=20, help="times each question is decided for its time (20)")
    parser.add_argument("--json", type=Path, help="write the result here too")
    given = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(tokenizer_path()))

    def count(text: str) -> int:
        return len(tokenizer.encode(text).ids)

    index = Index([Descriptor.of(tool) for tool in tools()])
    full = tokens_of(index.tools, count)

    def by_words(query: str) -> list[Descriptor]:
        return [choice.tool for choice in index.select(query, limit=given.limit)]

    words = {half: measured(by_words, half, count, full, given.repeat) for half in HALVES}
    result = {
        "benchmark": "smart_tools",
        "tools": len(index.tools),
        "limit": given.limit,
        "tokenizer": "SmolLM2-135M-Instruct",
        "tokens_of_all_tools": full,
        "questions": words,
        "ratios": {"tokens_smart_to_all_held_out": words["held_out"]["ratio_to_all_tools"]},
        "aims": {"found": 0.9, "quiet": 0.95, "decision_median_ms": 2},
    }
    write_report(result, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
