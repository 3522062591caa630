"""How a run of code is told to a client: one JSON object, or server-sent events."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flows.code_events import CodeAccount, CodeEvent, CodeResult, CodeStarted, FileKept, Raised, Text
from flows.code_told import account_told, file_told, result_told
from flows.conduct import ActiveRun, Ended
from services_node.chat_api.telling import told

ActiveCode = ActiveRun[CodeEvent, CodeAccount]
CodeEnded = Ended[CodeAccount]


def ids(active: ActiveCode) -> dict[str, Any]:
    conversation_id = active.run.conversation_id
    return {
        "run_id": str(active.run.id),
        "conversation_id": str(conversation_id) if conversation_id is not None else None,
    }


def code_reply(active: ActiveCode, ended: CodeEnded) -> dict[str, Any]:
    """The JSON reply of a run that went well, whatever the code itself ended with."""
    return {**account_told(ended.account), **ids(active), "duration_ms": round(ended.total_ms, 1)}


def code_event(active: ActiveCode, happened: CodeEvent | CodeEnded) -> dict[str, Any]:
    """One event of a stream. An `error` that is not `done` is the code's own."""
    match happened:
        case Text(stream, text):
            return {"type": stream, "content": text, "done": False}
        case CodeStarted(sandbox_id, notice):
            known = {"sandbox_id": sandbox_id, "notice": notice, **ids(active)}
            return {"type": "start", "content": "", "done": False, **known}
        case CodeResult():
            shown = result_told(happened)
            return {"type": "result", "content": shown["text"] or "", "done": False, "result": shown}
        case FileKept(file):
            return {"type": "file", "content": "", "done": False, "file": file_told(file)}
        case Raised(error):
            return {"type": "error", "content": "", "done": False, "error": asdict(error)}
        case Ended(error=None):
            return {"type": "end", "content": "", "done": True, **code_reply(active, happened)}
        case Ended(error=failed):
            return {"type": "error", "content": "", "done": True, "error": told(failed), **ids(active)}
