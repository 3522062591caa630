"""`./capibara6 run show`: a story as a tree, what goes wrong, and what it ends with."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from wire.errors import InvalidRequest, NotFound
from wire.terminal_run import DEEPEST, MOST_RUNS, _asked, drawn, gathered, run

START = datetime(2026, 11, 27, 10, 0, tzinfo=UTC)
ID, CHILD = "0193a7c2-5b1e-7d3f-9a64-2f8e6c1d0b57", "0193a7c3-0000-7d3f-9a64-2f8e6c1d0b57"


def at(seconds: float) -> str:
    return (START + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def step(name: str, kind: str, began: float, ended: float | None, **more: Any) -> dict[str, Any]:
    return {
        "id": name, "name": name, "kind": kind, "parent_id": None, "detail": None, "error_code": None,
        "error_detail": None, "status": "completed" if ended is not None else "running", "started_at": at(began),
        "ended_at": at(ended) if ended is not None else None, **more,
    }  # fmt: skip


def story(id_: str = ID, **more: Any) -> dict[str, Any]:
    return {
        "id": id_, "kind": "chat", "status": "completed", "trace_id": "ab" * 16, "model": "phi4_fast",
        "route": "meaning", "prompt_tokens": 120, "completion_tokens": 45, "tool_calls": 2, "tool_errors": 1,
        "error": None, "created_at": at(0), "started_at": at(0), "ended_at": at(4), "steps": [], "files": [],
        "children": [], **more,
    }  # fmt: skip


WHOLE = story(
    steps=[
        step("answer", "model_call", 2.0, 4.0),
        step("model_call 1", "model_call", 0.0, 1.0),
        step("calculate", "tool_call", 1.0, 1.008, parent_id="model_call 1"),
        step("fetch_url", "tool_call", 1.0, 1.5, parent_id="model_call 1", status="failed", error_code="tool_failed",
             error_detail="the page\nis \x1b[31mgone"),
    ],
    children=[story(CHILD, kind="code", started_at=at(1.5), ended_at=at(2.0), tool_calls=0)],
    files=[{"name": "plot.png", "size_bytes": 9}],
)  # fmt: skip


def test_a_run_is_drawn_as_a_tree_with_bars() -> None:
    lines = drawn(WHOLE, 80, START + timedelta(seconds=9))
    assert lines[:5] == [
        f"run {ID}", "completed · phi4_fast (meaning) · 120 + 45 tokens · 2 tool calls, 1 failed",
        f"trace {'ab' * 16}", "file plot.png (9 bytes)", "",
    ]  # fmt: skip
    assert [line.split("█")[0].rstrip() for line in lines[5:]] == [
        "✓ chat                         4.00 s",
        "├─ ✓ model_call 1              1.00 s",
        "│  ├─ ✓ tool_call calculate      8 ms",
        "│  └─ ✗ tool_call fetch_url    500 ms",
        "        tool_failed: the page is  [31mgone",
        "├─ ✓ code 0193a7c3             500 ms",
        "└─ ✓ model_call answer         2.00 s",
    ]
    assert all(len(line) <= 80 for line in lines)


def test_where_a_run_came_from_and_where_else_it_is_told_stands_above_its_tree() -> None:
    told = story(
        origin="n8n",
        n8n={"execution_id": "42", "workflow_id": "aB"},
        links={"prefect": "http://p/runs/flow-run/1", "n8n": "http://n/workflow/aB/executions/42"},
        callbacks=[{"url": "http://r/x", "state": "failed", "attempts": 3, "last_error": "answered 500\x1b"}],
    )
    assert drawn(told, 80, START)[3:8] == [
        "from n8n, execution 42 of workflow aB",
        "prefect http://p/runs/flow-run/1",
        "n8n http://n/workflow/aB/executions/42",
        "callback http://r/x failed after 3 tries: answered 500 ",
        "",
    ]
    assert drawn(story(origin="api", links={}, n8n=None, callbacks=[]), 80, START)[3:5] == ["from api", ""]
    began = story(
        kind="workflow", origin="api", links={}, n8n={"execution_id": "42", "workflow_id": "aB"}, callbacks=[]
    )
    assert "from api, to execution 42 of workflow aB" in drawn(began, 80, START)


def test_bars_stand_where_the_parts_were_in_time() -> None:
    lines = {line.split("█")[0].strip(): line for line in drawn(WHOLE, 100, START)}
    first = next(line for name, line in lines.items() if "model_call 1" in name)
    last = next(line for name, line in lines.items() if "answer" in name)
    whole = next(line for name, line in lines.items() if "chat" in name)
    assert first.index("█") == whole.index("█") < last.index("█")
    assert whole.count("█") == pytest.approx(4 * first.count("█"), abs=4)
    assert last.rstrip().endswith("█") and len(last) == len(whole)


def test_nothing_in_a_story_moves_the_cursor() -> None:
    assert all(letter.isprintable() for line in drawn(WHOLE, 80, START) for letter in line)


def test_what_is_under_way_reaches_until_now() -> None:
    running = story(status="running", ended_at=None, steps=[step("model_call", "model_call", 1, None)])
    text = "\n".join(drawn(running, 80, START + timedelta(seconds=2)))
    assert text.count("under way") == 2 and "█" in text


def test_steps_that_are_each_others_parents_end() -> None:
    circle = story(steps=[step("a", "step", 0, 1, parent_id="b"), step("b", "step", 0, 1, parent_id="a")])
    assert drawn(circle, 80, START)
    lost = story(steps=[step("a", "step", 0, 1, parent_id="nobody")])
    assert any("✓ a" in line for line in drawn(lost, 80, START))


class Api:
    def __init__(self, stories: dict[str, dict[str, Any]]) -> None:
        self.stories = stories
        self.asked: list[str] = []

    async def get_json(self, path: str, **params: Any) -> Any:
        self.asked.append(path)
        if path == "/api/runs":
            return {"runs": [{"id": id_} for id_ in list(self.stories)[:1]]}
        if path.rpartition("/")[2] not in self.stories:
            raise NotFound("There is no such run.")
        return self.stories[path.rpartition("/")[2]]


async def test_the_runs_it_began_are_told_whole_and_not_for_ever() -> None:
    both = {ID: story(children=[{"id": CHILD}]), CHILD: story(CHILD, children=[{"id": ID}] * 100)}
    api = Api(both)
    found = await gathered(api, ID)
    assert found["children"][0]["kind"] == "chat"
    assert len(api.asked) <= MOST_RUNS + 1 and DEEPEST < 10


async def test_json_is_one_object_and_last_is_the_newest(capsys: pytest.CaptureFixture[str]) -> None:
    assert await run(Api({ID: WHOLE | {"children": []}}), "last", as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["id"] == ID
    assert await run(Api({ID: WHOLE | {"children": []}}), ID.upper(), as_json=False) == 0
    assert ID in capsys.readouterr().out


async def test_what_is_no_id_and_what_is_no_run() -> None:
    with pytest.raises(InvalidRequest, match="no run id"):
        await run(Api({}), "../conversations", as_json=False)
    with pytest.raises(NotFound):
        await run(Api({}), ID, as_json=False)
    with pytest.raises(NotFound, match="no runs yet"):
        await run(Api({}), "last", as_json=False)


def test_the_command_line() -> None:
    assert (_asked(["show", ID]).run, _asked(["show", "last", "--json"]).json) == (ID, True)
