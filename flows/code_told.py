"""A run of code as JSON: what clients get, and what a batch keeps of each of its jobs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from db.records import FileRecord
from flows.code_events import CodeAccount, CodeResult

FORMS = ("text", "html", "markdown", "svg", "latex", "json", "javascript", "data", "chart")


def file_told(file: FileRecord) -> dict[str, Any]:
    """url: where the chat API serves its bytes."""
    return {
        "id": str(file.id),
        "name": file.name,
        "media_type": file.media_type,
        "size_bytes": file.size_bytes,
        "sha256": file.sha256,
        "url": file_url(file),
    }


def file_url(file: FileRecord) -> str:
    return f"/api/files/{file.id}/content"


def result_told(result: CodeResult) -> dict[str, Any]:
    """Its text forms in place (null where it has none), its binary and its longest forms as files."""
    forms = dict.fromkeys(FORMS) | dict(result.forms)
    files = [{"form": kept.form, **file_told(kept.file)} for kept in result.files]
    return {"is_main_result": result.is_main_result, **forms, "files": files}


def account_told(account: CodeAccount) -> dict[str, Any]:
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
    }
