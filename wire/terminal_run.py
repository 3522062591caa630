"""`./capibara6 run show ID`: a run's whole story as a tree, with a bar for when each part of it was."""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from stack.errors import StackError
from stack.secrets import load_secrets
from stack.settings import get_settings
from stack.topology import keys_needed, load_topology
from wire.clients.base import ServiceClient
from wire.errors import ApiError, InvalidRequest, NotFound

FAILED = 6  # the stack could not tell (stack.errors)
LAST = "last"
MOST_RUNS, DEEPEST = 50, 4  # of runs that a run began, and they others
LEAST_BAR, WIDEST_NAME = 16, 48
MARKS = {"completed": "✓", "failed": "✗", "cancelled": "⊘", "running": "…", "pending": "…"}

Story = dict[str, Any]


class Asked(Protocol):
    async def get_json(self, path: str, **params: Any) -> Any: ...


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the tree. began, ended: seconds from the first run's beginning; ended is None while under way."""

    branch: str
    name: str
    status: str
    began: float | None
    ended: float | None
    told: str = ""


async def gathered(client: Asked, run_id: str) -> Story:
    """The run's story, with those of the runs it began in place of their heads. Raises ApiError."""
    room = MOST_RUNS

    async def story(id_: str, depth: int) -> Story:
        nonlocal room
        found: Story = await client.get_json(f"/api/runs/{id_}")
        children = []
        for child in found.get("children") or []:
            if room > 0 and depth < DEEPEST:
                room -= 1
                children.append(await story(child["id"], depth + 1))
            else:
                children.append(child)
        return {**found, "children": children}

    if run_id == LAST:
        runs = (await client.get_json("/api/runs", limit=1))["runs"]
        if not runs:
            raise NotFound("There are no runs yet.")
        run_id = runs[0]["id"]
    return await story(run_id, 0)


def drawn(story: Story, width: int, now: datetime) -> list[str]:
    """The lines to print, none longer than `width` where that is wide enough for names and times."""
    start = _moment(story.get("started_at")) or _moment(story.get("created_at")) or now
    lines = list(_run_lines(story, start, "", ""))
    end = max([line.ended for line in lines if line.ended is not None] + [0.0])
    if any(line.began is not None and line.ended is None for line in lines):
        end = max(end, (now - start).total_seconds())
    names = min(WIDEST_NAME, max(len(line.branch) + len(line.name) + 2 for line in lines))
    room = max(LEAST_BAR, width - names - 12)
    shown = _head(story)
    for line in lines:
        left = f"{line.branch}{MARKS.get(line.status, '?')} {line.name}"
        left = left if len(left) <= names else f"{left[: names - 1]}…"
        bar = _bar(line, end, room)
        shown.append(f"{left:<{names}} {_duration(line):>9}  {bar}".rstrip())
        if line.told:
            shown.append(f"{' ' * len(line.branch)}  {line.told}"[:width])
    return shown


def _head(story: Story) -> list[str]:
    """What is known of the whole run, before its tree."""
    facts = [
        story.get("status"),
        story.get("model") and f"{story['model']} ({story.get('route') or 'asked'})",
        story.get("prompt_tokens") is not None
        and f"{story['prompt_tokens']} + {story.get('completion_tokens') or 0} tokens",
        story.get("tool_calls") and f"{story['tool_calls']} tool calls, {story.get('tool_errors') or 0} failed",
    ]
    lines = [f"run {story['id']}", " · ".join(str(fact) for fact in facts if fact), f"trace {story.get('trace_id')}"]
    lines += _whence(story)
    lines += [f"file {_plain(file['name'])} ({file.get('size_bytes', '?')} bytes)" for file in story.get("files") or []]
    return [*lines, ""]


def _whence(story: Story) -> list[str]:
    """Where the run came from, where else it can be looked at, and where its end is told."""
    n8n = story.get("n8n") or {}
    way = "to " if story.get("kind") == "workflow" and story.get("origin") != "n8n" else ""
    by = f", {way}execution {n8n['execution_id']} of workflow {n8n.get('workflow_id') or '?'}" if n8n else ""
    lines = [_plain(f"from {story['origin']}{by}")] if story.get("origin") else []
    lines += [_plain(f"{name} {url}") for name, url in (story.get("links") or {}).items()]
    for callback in story.get("callbacks") or []:
        why = f": {callback['last_error']}" if callback.get("last_error") else ""
        tried = f"{callback.get('attempts', 0)} tries"
        lines.append(_plain(f"callback {callback.get('url')} {callback.get('state')} after {tried}{why}"))
    return lines


def _run_lines(run: Story, start: datetime, branch: str, below: str) -> list[Line]:
    """The run and everything under it: steps in their order, steps within steps, the runs it began."""
    name = f"{run.get('kind')} {str(run['id'])[:8]}" if branch else str(run.get("kind"))
    lines = [_line(run, start, branch, name)]
    steps = sorted(run.get("steps") or [], key=lambda step: str(step.get("started_at")))
    above: dict[str, str | None] = {step["id"]: step.get("parent_id") for step in steps}
    inside: dict[str | None, list[Mapping[str, Any]]] = {}
    for step in steps:
        inside.setdefault(step.get("parent_id") if _leads_up(step["id"], above) else None, []).append(step)
    runs = run.get("children") or []
    top = sorted([*inside.get(None, []), *runs], key=lambda part: str(part.get("started_at") or part.get("created_at")))
    for index, part in enumerate(top):
        branches = _branches(below, last=index == len(top) - 1)
        if part in runs:
            lines += _run_lines(dict(part), start, *branches)
        else:
            lines += _step_lines(part, inside, start, branches)
    return lines


def _step_lines(
    step: Mapping[str, Any],
    inside: Mapping[str | None, Sequence[Mapping[str, Any]]],
    start: datetime,
    branches: tuple[str, str],
) -> list[Line]:
    branch, below = branches
    name, kind = str(step.get("name")), str(step.get("kind") or "step")
    lines = [_line(step, start, branch, name if kind == "step" or name.startswith(kind) else f"{kind} {name}")]
    within = inside.get(step["id"], [])
    for index, part in enumerate(within):
        lines += _step_lines(part, inside, start, _branches(below, last=index == len(within) - 1))
    return lines


def _leads_up(step: str, above: Mapping[str, str | None]) -> bool:
    """Whether the step is inside a known one, and these inside others to an end: a circle is drawn flat."""
    at, seen = above.get(step), {step}
    if at not in above:
        return False
    while at is not None and at in above:
        if at in seen:
            return False
        seen.add(at)
        at = above[at]
    return True


def _branches(below: str, *, last: bool) -> tuple[str, str]:
    """What stands before a part, and before what is inside it."""
    return (f"{below}└─ ", f"{below}   ") if last else (f"{below}├─ ", f"{below}│  ")


def _line(part: Mapping[str, Any], start: datetime, branch: str, name: str) -> Line:
    error = part.get("error") or {}
    code = part.get("error_code") or error.get("code")
    detail = part.get("error_detail") or error.get("detail")
    told = _plain(f"{code}: {detail}" if detail else str(code)) if code else ""
    began, ended = _moment(part.get("started_at")), _moment(part.get("ended_at"))
    return Line(
        branch,
        _plain(name),
        str(part.get("status")),
        (began - start).total_seconds() if began else None,
        (ended - start).total_seconds() if ended else None,
        told,
    )


def _bar(line: Line, end: float, room: int) -> str:
    """When it was, of the whole time: at least one mark wide."""
    if line.began is None or end <= 0:
        return ""
    first = min(room - 1, max(0, round(line.began / end * room)))
    last = round((line.ended if line.ended is not None else end) / end * room)
    return " " * first + "█" * max(1, min(room, last) - first)


def _duration(line: Line) -> str:
    if line.began is None:
        return "-"
    if line.ended is None:
        return "under way"
    seconds = line.ended - line.began
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _moment(text: Any) -> datetime | None:
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if isinstance(text, str) else None


def _plain(text: str) -> str:
    """On one line, without what moves a terminal's cursor."""
    return "".join(letter if letter.isprintable() else " " for letter in text)


def _asked(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./capibara6 run", description="Runs of the running stack.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    show = commands.add_parser("show", help="draw a run as a tree with timings")
    show.add_argument("run", metavar="ID", help=f"the run's id, or `{LAST}` for the newest")
    show.add_argument("--json", action="store_true", help="its whole story as one JSON object, for programs")
    return parser.parse_args(arguments)


async def run(client: Asked, run_id: str, *, as_json: bool) -> int:
    if run_id != LAST:
        try:
            run_id = str(uuid.UUID(run_id))
        except ValueError:
            raise InvalidRequest(f"{run_id!r} is no run id.", code="invalid_run_id") from None
    story = await gathered(client, run_id)
    if as_json:
        sys.stdout.write(json.dumps(story, ensure_ascii=False) + "\n")
    else:
        width = shutil.get_terminal_size((100, 24)).columns
        sys.stdout.write("\n".join(drawn(story, width, datetime.now(UTC))) + "\n")
    return 0


async def _with_client(given: argparse.Namespace) -> int:
    settings = get_settings()
    key = load_secrets(settings).operator_key.get_secret_value() if keys_needed(settings, "chat-api") else None
    client = ServiceClient(load_topology(settings).url("chat-api"), name="chat-api", key=key)
    try:
        return await run(client, given.run, as_json=given.json)
    finally:
        await client.close()


def main(arguments: list[str] | None = None) -> int:
    try:
        return asyncio.run(_with_client(_asked(arguments)))
    except StackError as error:
        sys.stderr.write(f"{error}\n{error.mend}\n")
        return error.exit_code
    except ApiError as error:
        sys.stderr.write(f"{error.code}: {error.detail}\n")
        if error.code == "chat_api_unreachable":
            sys.stderr.write("is the stack up? ./capibara6 status\n")
        return 2 if error.status in {400, 404, 422} else FAILED
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
