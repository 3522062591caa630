"""The labelled questions of `data/smart_questions`, the tools they are asked over, and how well a choice of tools does
on them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

DATA = Path(__file__).resolve().parent / "data" / "smart_questions"
Half = Literal["development", "held_out", "by_others"]


@dataclass(frozen=True, slots=True)
class Labelled:
    """needs: the tools that the question cannot do without; none for one that needs none."""

    query: str
    language: str
    needs: frozenset[str]


@dataclass(frozen=True, slots=True)
class Report:
    """Shares of 1. found: of the questions that need tools, those offered all of them. quiet: of the others, those
    offered nothing. offered: tools offered, on average, to a question that needs one."""

    questions: int
    found: float
    quiet: float
    offered: float


def tools() -> list[dict[str, Any]]:
    """The MCP server's own tools, as its `tools/list` gives them: what the questions are asked over."""
    found: list[dict[str, Any]] = json.loads((DATA / "descriptors.json").read_text(encoding="utf-8"))
    return found


def read(half: Half) -> tuple[Labelled, ...]:
    lines = (DATA / f"{half}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    return tuple(Labelled(row["query"], row["language"], frozenset(row["needs"])) for row in rows)


def judge(questions: Sequence[Labelled], choose: Callable[[str], Sequence[str]]) -> Report:
    """choose: names offered to a query."""
    found: list[bool] = []
    quiet: list[bool] = []
    offered: list[int] = []
    for question in questions:
        names = choose(question.query)
        if question.needs:
            found.append(question.needs <= set(names))
            offered.append(len(names))
        else:
            quiet.append(not names)
    return Report(len(questions), _share(found), _share(quiet), round(sum(offered) / max(1, len(offered)), 2))


def _share(values: Sequence[bool]) -> float:
    return round(sum(values) / max(1, len(values)), 3)
