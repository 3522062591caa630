"""`./capibara6 code run`: what it sends, shows, writes, and ends with."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from wire.terminal_code import Asked, _asked, run

END: dict[str, Any] = {
    "type": "end", "content": "", "done": True, "error": None, "files": [], "files_left_out": [], "duration_ms": 12.0,
    "sandbox_id": "s", "run_id": "r",
}  # fmt: skip


class Client:
    base_url = "http://here"

    def __init__(self, *events: dict[str, Any]) -> None:
        self.events = events
        self.asked: Mapping[str, Any] = {}
        self.written: list[Path] = []

    async def stream(self, request: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        self.asked = request
        for event in self.events:
            yield event

    async def upload(self, path: Path, name: str) -> str:
        return f"id of {name}"

    async def download(self, url: str, target: Path) -> None:
        self.written.append(target)


async def ended(client: Client, **more: Any) -> int:
    asked: dict[str, Any] = {"request": {"code": "1"}, "uploads": (), "output": None, "as_json": False, **more}
    return await run(client, Asked(**asked))  # type: ignore[arg-type]


async def test_output_goes_where_it_belongs_and_well_is_0(capsys: pytest.CaptureFixture[str]) -> None:
    events = [{"type": name, "content": name, "done": False} for name in ("stdout", "stderr")]
    assert await ended(Client(*events, END)) == 0
    said = capsys.readouterr()
    assert said.out == "stdout" and said.err.startswith("stderr") and "run r" in said.err


async def test_an_error_of_the_code_is_1_and_of_the_stack_6(capsys: pytest.CaptureFixture[str]) -> None:
    error = {"name": "NameError", "value": "x", "traceback": "Traceback …"}
    raised = {"type": "error", "content": "", "done": False, "error": error}
    assert await ended(Client(raised, {**END, "error": error})) == 1
    assert "Traceback …" in capsys.readouterr().err
    failed = {"type": "error", "done": True, "error": {"code": "sandbox_lost", "detail": "it ended"}, "run_id": "r"}
    assert await ended(Client(failed)) == 6
    assert "sandbox_lost: it ended" in capsys.readouterr().err
    assert await ended(Client()) == 6


async def test_files_are_sent_along_and_written_nowhere_but_below_the_folder(tmp_path: Path) -> None:
    files = [{"name": name, "url": "/u"} for name in ("a/b.txt", "../../c.txt", "/etc/d.txt")]
    client = Client({**END, "files": files})
    assert await ended(client, uploads=(tmp_path / "in.csv",), output=tmp_path / "out") == 0
    assert client.asked["files"] == [{"name": "in.csv", "file_id": "id of in.csv"}]
    out = tmp_path / "out"
    assert client.written == [out / "a/b.txt", out / "c.txt", out / "etc/d.txt"]


async def test_json_is_one_object(capsys: pytest.CaptureFixture[str]) -> None:
    assert await ended(Client({"type": "stdout", "content": "x", "done": False}, END), as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["run_id"] == "r"


def test_the_language_is_told_by_the_files_ending(tmp_path: Path) -> None:
    for name, language in (("a.py", "python"), ("a.sh", "bash"), ("a.ts", "typescript"), ("a.txt", "python")):
        (tmp_path / name).write_text("1")
        assert _asked(["run", str(tmp_path / name)]).request["language"] == language
    assert _asked(["run", str(tmp_path / "a.py"), "--language", "bash"]).request["language"] == "bash"
