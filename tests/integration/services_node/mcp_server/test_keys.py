"""Beyond loopback every request needs a key, and what a principal opened is its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from mcp_clients import ACCEPT, LEGACY, MODERN, connected, opened
from mcp_process import McpProcess

ADDRESSES = """
[nodes.models-europe]
address = "192.0.2.1"
[nodes.services]
address = "192.0.2.2"
bind = "127.0.0.1"
[nodes.frontend]
address = "192.0.2.3"
"""


@pytest.fixture
def guarded(another: Callable[..., McpProcess], tmp_path: Path) -> McpProcess:
    topology = tmp_path / "topology.toml"
    topology.write_text(ADDRESSES)
    return another({"CAPIBARA6_PROFILE": "production", "CAPIBARA6_TOPOLOGY": str(topology)})


async def test_keys_principals_and_whose_session_it_is(guarded: McpProcess) -> None:
    services = guarded.secrets.services_key.get_secret_value()
    n8n = guarded.secrets.n8n_key.get_secret_value()
    async with httpx.AsyncClient() as http:
        refused = await opened(http, guarded.mcp)
        assert (refused.status_code, refused.json()["code"]) == (401, "missing_api_key")
        for path in ("status", "tools", "contexts"):
            assert (await http.get(f"{guarded.url}/api/mcp/{path}")).status_code == 401
        assert (await http.get(f"{guarded.url}/api/mcp/health")).status_code == 200

        keyed = {"authorization": f"Bearer {services}", "x-capibara6-on-behalf-of": "ana"}
        for era in (MODERN, LEGACY):
            async with connected(guarded.mcp, era, keyed) as client:
                assert (await client.call_tool("who")).structured_content["principal"] == "ana"
            async with connected(guarded.mcp, era, {"x-api-key": n8n}) as client:
                assert (await client.call_tool("who")).structured_content["principal"] == "n8n"

    async with httpx.AsyncClient(headers=keyed) as http:
        session = (await opened(http, guarded.mcp)).headers["mcp-session-id"]
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        told = {**ACCEPT, "mcp-session-id": session}
        assert (await http.post(guarded.mcp, json=ping, headers=told)).status_code == 200
        other = {**told, "x-capibara6-on-behalf-of": "berta"}
        assert (await http.post(guarded.mcp, json=ping, headers=other)).status_code == 404
    async with httpx.AsyncClient(headers={"authorization": f"Bearer {n8n}"}) as http:
        assert (await http.post(guarded.mcp, json=ping, headers=told)).status_code == 404
        acting = {**told, "x-capibara6-on-behalf-of": "ana"}
        assert (await http.post(guarded.mcp, json=ping, headers=acting)).status_code == 403
