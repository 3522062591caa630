"""`run_python` of a chat turn: in the conversation's own sandbox, as a part of the turn's run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from flows.code import CodeRequest, CodeTools, CodeWork
from flows.code_events import CodeAccount, CodeEvent
from flows.code_told import file_url
from flows.tools.calls import Outcome

if TYPE_CHECKING:
    from flows.tools.box import Surroundings

MARGIN_SECONDS = 5.0  # of the tool's own limit, for the code's limit to be told as such


@dataclass(frozen=True, slots=True)
class PythonCall:
    code: str
    timeout_seconds: float

    @classmethod
    def of(cls, arguments: Mapping[str, Any], most_seconds: float) -> PythonCall | Outcome:
        """The call, or what is wrong with its arguments, as the model reads it."""
        code, seconds = arguments.get("code"), arguments.get("timeout_seconds")
        if not isinstance(code, str) or not code.strip():
            return Outcome("run_python needs `code`: Python source as a string.", "invalid_arguments")
        if seconds is not None and (isinstance(seconds, bool) or not isinstance(seconds, int | float) or seconds <= 0):
            return Outcome("`timeout_seconds` must be a number of seconds above 0.", "invalid_arguments")
        longest = max(1.0, most_seconds - MARGIN_SECONDS)
        return cls(code, min(float(seconds), longest) if seconds is not None else longest)


class _Silent:
    async def put(self, event: CodeEvent) -> None:
        """What the code says is told at its end, as the tool's result."""


async def run_python(asked: PythonCall, tools: CodeTools, around: Surroundings) -> Outcome:
    """Runs the code; its files become files of the turn's run. Raises ApiError where no sandbox is to be had."""
    request = CodeRequest(
        run_id=around.context.run_id,
        owner=around.context.principal.name,
        conversation_id=around.conversation_id,
        code=asked.code,
        language="python",
        files=(),
        timeout_seconds=asked.timeout_seconds,
        earlier_runs=around.ran_code_before,
    )
    work = CodeWork(request, tools, around.written)
    try:
        performed = await work.perform(_Silent(), around.steps, lambda: None)
    finally:
        around.account.steps += [replace(step, parent_id=around.step_id) for step in work.account.steps]
    if performed.error is not None:
        raise performed.error
    # Untrusted: what code prints may come from a file or a page.
    return Outcome(told(work.account), "code_error" if work.account.error is not None else None, untrusted=True)


def told(account: CodeAccount) -> str:
    """What the code said and made, for a model to read."""
    parts = [account.notice or ""]
    parts += [account.text("stdout").rstrip()]
    parts += [str(result.forms["text"]) for result in account.results if result.forms.get("text")]
    stderr = account.text("stderr").rstrip()
    parts += [f"stderr:\n{stderr}"] if stderr else []
    if account.error is not None:
        parts += [f"{account.error.name}: {account.error.value}", _last_lines(account.error.traceback)]
    parts += [f"file kept: {file.name} ({file.media_type}, {file_url(file)})" for file in account.files]
    parts += [f"file not kept: {left.name}: {left.why}" for left in account.files_left_out]
    said = "\n".join(part for part in parts if part)
    return said or "The code ran and printed nothing. Print what you want to know."


def _last_lines(traceback: str, most: int = 6) -> str:
    return "\n".join(traceback.strip().splitlines()[-most:])
