"""How a run of code is told to a client: one JSON object, or server-sent events."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from db.records import FileRecord
from flows.code_events import CodeAccount, CodeEvent, CodeResult, CodeStarted, FileKept, Raised, Text
from flows.conduct import ActiveRun, Ended
from services_node.chat_api.schemas import FileOut
from services_node.chat_api.telling import told

ActiveCode = ActiveRun[CodeEvent, CodeAccount]
CodeEnded = Ended[CodeAccount]

LANGUAGE_FORMS = ("text", "html", "markdown", "svg", "latex", "json", "javascript", "data", "chart")


def file_told(file: FileRecord) -> dict[str, Any]:
    return FileOut.of(file).model_dump(mode="json")


def result_told(result: CodeResult) -> dict[str, Any]:
    """Its text forms in place (null where it has none), its binary and its longest forms as files."""
    forms = dict.fromkeys(LANGUAGE_FORMS) | dict(result.forms)
    files = [{"form": kept.form, **file_told(kept.file)} for kept in result.files]
    return {"is_main_result": result.is_main_result, **forms, "files": files}


def ids(active: ActiveCode) -> dict[str, Any]:
    conversation_id = active.run.conversation_id
    return {
        "run_id": str(active.run.id),
        "conversation_id": str(conversation_id) if conversation_id is not None else None,
    }


def code_reply(active: ActiveCode, ended: CodeEnded) -> dict[str, Any]:
    """The JSON reply of a run that went well, whatever the code itself ended with."""
    account = ended.account
    return {
        "stdout": account.text("stdout"),
        "stderr": account.text("stderr"),
        "output_cut": account.output_cut,
        "results": [result_told(result) for result in account.results],
        "error": asdict(account.error) if account.error is not None else None,
        "files": [file_told(file) for file in account.files],
        "files_left_out": [asdict(left) for left in account.files_left_out],
        "execution_count": account.execution_count,
        "sandbox_id": account.sandbox_id,
        "notice": account.notice,
        **ids(active),
        "duration_ms": round(ended.total_ms, 1),
    }


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
