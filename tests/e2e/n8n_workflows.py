"""Workflow files of a stack's own copy, brought in by `up` as any file is, and n8n's public API beside them."""

from __future__ import annotations

import json
from typing import Any

import httpx

from tests.e2e.stack import START_SECONDS, Stack, eventually


class Workflows:
    """The stack's own copies of workflow files, and n8n's public API."""

    def __init__(self, stack: Stack) -> None:
        self.stack, self.folder = stack, stack.root / "n8n" / "workflows"
        self.written: list[str] = []
        key = stack.env()["CAPIBARA6_N8N_API_KEY"]
        self.api = httpx.Client(base_url=stack.url("n8n"), headers={"x-n8n-api-key": key}, timeout=30)

    def write(self, name: str, content: Any) -> None:
        self.folder.mkdir(exist_ok=True)
        text = content if isinstance(content, str) else json.dumps(content)
        (self.folder / f"{name}.json").write_text(text, encoding="utf-8")
        if name not in self.written:
            self.written.append(name)

    def up(self) -> str:
        """What `up` tells of them."""
        told = self.stack.ok("up", "--detach", seconds=START_SECONDS).stderr
        return "\n".join(line for line in told.splitlines() if "n8n:" in line)

    def held(self, name: str) -> dict[str, Any]:
        reply = self.api.get(f"/api/v1/workflows/capibara6-{name}")
        reply.raise_for_status()
        found: dict[str, Any] = reply.json()
        return found

    def answer(self, path: str, body: Any, seconds: float = 30) -> Any:
        """Of a webhook, once it listens: activating goes on behind the answer that it is done."""
        url = f"{self.stack.url('n8n')}/webhook/{path}"
        reply = eventually(
            lambda: (r := httpx.post(url, json=body, timeout=seconds)).status_code != 404 and r,
            30,
            "the webhook listens",
        )
        assert reply.status_code == 200, reply.text
        return reply.json()

    def executions(self, name: str) -> list[dict[str, Any]]:
        """Those that have ended, newest first, with what each node gave."""
        asked = {"workflowId": f"capibara6-{name}", "includeData": True}
        reply = self.api.get("/api/v1/executions", params=asked)
        reply.raise_for_status()
        return [one for one in reply.json()["data"] if one["finished"] or one["status"] in ("error", "crashed")]

    def clean(self) -> None:
        for name in self.written:
            (self.folder / f"{name}.json").unlink()
            eventually(lambda name=name: self._gone(name), 20, f"workflow {name} is removed")
        self.api.close()

    def _gone(self, name: str) -> bool:
        """What is just being published can be neither taken back nor deleted."""
        self.api.post(f"/api/v1/workflows/capibara6-{name}/deactivate")
        return self.api.delete(f"/api/v1/workflows/capibara6-{name}").status_code in (200, 404)
