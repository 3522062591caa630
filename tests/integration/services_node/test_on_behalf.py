"""The chat API where keys are asked for: whose conversations, runs and files a service sees that asks for somebody."""

from __future__ import annotations

import asyncio
from pathlib import Path

import httpx
import pytest
from history_house import written_turn
from installation import Installation

from services_node.chat_api.app import create_app
from stack.secrets import load_secrets
from stack.settings import Settings
from wire.context import ON_BEHALF_HEADER

PUBLIC = """
[nodes.models-europe]
address = "192.0.2.1"
[nodes.services]
address = "192.0.2.2"
bind = "0.0.0.0"
[nodes.frontend]
address = "192.0.2.3"
"""


def test_a_service_sees_what_is_theirs_for_whom_it_asks(
    postgres: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = written_turn(postgres, "eva", "secreto", "respuesta")
    for name in ("CAPIBARA6_HOME", "CAPIBARA6_PORT_OFFSET"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "topology.toml").write_text(PUBLIC, encoding="utf-8")
    settings = Settings(home=postgres.home, port_offset=postgres.offset, topology=tmp_path / "topology.toml")
    secrets = load_secrets(settings)
    app = create_app(settings, secrets)
    services, frontend = secrets.services_key.get_secret_value(), secrets.frontend_key.get_secret_value()

    async def statuses() -> list[tuple[int, int, int]]:
        found = []
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://chat") as client:
            for key, principal in ((services, "eva"), (services, "ana"), (services, None), (frontend, "eva")):
                headers = {"authorization": f"Bearer {key}"} | ({ON_BEHALF_HEADER: principal} if principal else {})
                replies = [
                    await client.get(f"/api/conversations/{theirs.conversation_id}", headers=headers),
                    await client.get(f"/api/runs/{theirs.id}", headers=headers),
                    await client.patch(
                        f"/api/conversations/{theirs.conversation_id}", json={"title": "x"}, headers=headers
                    ),
                ]
                found.append(tuple(reply.status_code for reply in replies))
        await app.state.parts.database.close()
        return found  # type: ignore[return-value]

    assert asyncio.run(statuses()) == [(200, 200, 200), (404, 404, 404), (404, 404, 404), (403, 403, 403)]
