"""The border on a small application, without a network."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import JSONResponse

from stack.secrets import Secrets, ensure_secrets
from stack.settings import Settings
from wire.border import install_border
from wire.context import current
from wire.errors import Conflict, TooManyRequests, Unauthorized
from wire.health import Readiness

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
PUBLIC = """
[nodes.models-europe]
address = "192.0.2.1"
[nodes.services]
address = "192.0.2.2"
bind = "0.0.0.0"
[nodes.frontend]
address = "192.0.2.3"
"""


class Question(BaseModel):
    message: str = Field(min_length=1)
    max_tokens: int = 1


def application(settings: Settings, secrets: Secrets | None, *, admits_with_keys: bool = False) -> FastAPI:
    app = FastAPI()
    ready = {"value": True}
    app.state.ready = ready

    async def readiness() -> Readiness:
        return Readiness(ready["value"], {"part": "ok" if ready["value"] else "gone"})

    install_border(
        app,
        service="chat-api",
        settings=settings,
        secrets=secrets,
        allowed={"frontend", "operator", "sandbox", "services"},
        acting_for={"services"},
        confined={"sandbox": ("/api/raw",)},
        admits_with_keys=admits_with_keys,
        readiness=readiness,
    )

    @app.post("/api/ask")
    async def ask(question: Question) -> dict[str, Any]:
        context = current()
        return {
            "run_id": str(context.run_id),
            "trace": context.trace.trace_id,
            "who": context.principal.name,
            "parent": str(context.parent_run_id) if context.parent_run_id else None,
        }

    @app.post("/v1/ask")
    async def ask_as_openai(question: Question) -> None: ...

    @app.post("/api/raw")
    async def raw(request: Request) -> int:
        return len(await request.body())

    @app.get("/api/{kind}")
    async def fail(kind: str) -> None:
        if kind == "busy":
            raise TooManyRequests("Full.", retry_after_seconds=1.2)
        if kind == "conflict":
            raise Conflict("Twice.", param="key")
        raise RuntimeError("the secret of the failure")

    return app


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    app = application(Settings(home=tmp_path, max_body_bytes=1000), None)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def test_a_request_gets_a_run_id_and_a_trace(client: httpx.AsyncClient) -> None:
    reply = await client.post("/api/ask", json={"message": "hola"})
    body = reply.json()
    assert uuid.UUID(body["run_id"]).version == 7
    assert reply.headers["x-capibara6-run-id"] == body["run_id"]
    assert reply.headers["traceparent"].split("-")[1] == body["trace"]
    assert body["who"] == "local"


async def test_the_callers_run_id_and_trace_go_on(client: httpx.AsyncClient) -> None:
    run_id = "0190163d-8694-739b-aea5-966c26f8ad90"
    headers = {"x-capibara6-run-id": run_id, "traceparent": TRACEPARENT}
    body = (await client.post("/api/ask", json={"message": "hola"}, headers=headers)).json()
    assert body["run_id"] == run_id
    assert body["trace"] == TRACEPARENT.split("-")[1]


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b"{", 400, None),
        (b"", 422, "body"),
        (b"[]", 422, "body"),
        (b'{"message": ""}', 422, "message"),
        (b'{"message": 3}', 422, "message"),
        (b'{"message": "a", "max_tokens": "many"}', 422, "max_tokens"),
    ],
)
async def test_bad_bodies_are_problems_that_name_the_field(
    client: httpx.AsyncClient, body: bytes, status: int, param: str | None
) -> None:
    reply = await client.post("/api/ask", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"
    problem = reply.json()
    assert problem["status"] == status
    assert problem.get("param") == param


async def test_openai_paths_tell_errors_as_openai_does(client: httpx.AsyncClient) -> None:
    error = (await client.post("/v1/ask", json={"message": ""})).json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == "message"


async def test_named_errors_keep_status_code_and_retry_after(client: httpx.AsyncClient) -> None:
    busy = await client.get("/api/busy")
    assert (busy.status_code, busy.headers["retry-after"]) == (429, "2")
    conflict = (await client.get("/api/conflict")).json()
    assert (conflict["code"], conflict["param"]) == ("conflict", "key")


async def test_an_unforeseen_failure_tells_no_insides(client: httpx.AsyncClient) -> None:
    reply = await client.get("/api/boom")
    assert reply.status_code == 500
    assert "secret" not in reply.text
    assert reply.headers["x-capibara6-run-id"]


async def test_no_such_route_is_a_problem(client: httpx.AsyncClient) -> None:
    reply = await client.get("/nothing")
    assert (reply.status_code, reply.json()["code"]) == (404, "not_found")


async def test_a_large_body_is_refused_declared_or_not(client: httpx.AsyncClient) -> None:
    assert (await client.post("/api/raw", content=b"x" * 1000)).json() == 1000
    assert (await client.post("/api/raw", content=b"x" * 1001)).status_code == 413

    async def unannounced() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b"x" * 100

    for path in ("/api/raw", "/api/ask"):
        reply = await client.post(path, content=unannounced(), headers={"content-type": "application/json"})
        assert (reply.status_code, reply.json()["code"]) == (413, "body_too_large")


async def test_health_and_metrics(tmp_path: Path) -> None:
    app = application(Settings(home=tmp_path), None)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client:
        assert (await client.get("/health/ready")).json()["checks"] == {"part": "ok"}
        app.state.ready["value"] = False
        reply = await client.get("/health/ready")
        assert (reply.status_code, reply.json()["checks"]) == (503, {"part": "gone"})
        assert (await client.get("/health/live")).status_code == 200
        assert "http_server_requests_total{" in (await client.get("/metrics")).text


async def test_without_keys_a_page_that_rebinds_its_name_or_posts_from_elsewhere_is_refused(
    client: httpx.AsyncClient,
) -> None:
    rebound = {"host": "evil.example:5000", "origin": "http://evil.example:5000"}
    for headers, status, code in (
        (rebound, 421, "unknown_host"),
        ({"host": "evil.example"}, 421, "unknown_host"),
        ({"origin": "https://evil.example"}, 403, "unknown_origin"),
        ({"origin": "null"}, 403, "unknown_origin"),
    ):
        refused = await client.post("/api/ask", json={"message": "hola"}, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (status, code)
        assert "CAPIBARA6_ALLOWED_ORIGINS" in refused.json()["detail"]
        assert (await client.post("/v1/ask", json={}, headers=headers)).json()["error"]["code"] == code
        assert (await client.get("/metrics", headers=headers)).status_code == status
        assert (await client.get("/health/live", headers=headers)).status_code == 200
    for headers in ({"host": "127.0.0.1:5000", "origin": "http://localhost:8080"}, {"host": "[::1]:5000"}):
        assert (await client.post("/api/ask", json={"message": "hola"}, headers=headers)).status_code == 200


async def test_without_keys_requests_that_the_service_guards_itself_are_for_known_names_too(tmp_path: Path) -> None:
    app = FastAPI()

    async def readiness() -> Readiness:
        return Readiness(True)

    install_border(
        app,
        service="sandbox-gateway",
        settings=Settings(home=tmp_path),
        secrets=None,
        allowed=set(),
        readiness=readiness,
        render=lambda error: JSONResponse({"told": error.code}, error.status),
        unguarded=lambda scope: any(name == b"e2b-sandbox-id" for name, _ in scope["headers"]),
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, headers={"e2b-sandbox-id": "s"}) as client:
        for host in ("127.0.0.1:8086", "49983-s.localhost:8086"):
            assert (await client.get(f"http://{host}/health/live")).status_code == 200
        refused = await client.get("http://evil.example/health/live")
        assert (refused.status_code, refused.json()) == (421, {"told": "unknown_host"})


async def test_beyond_this_machine_a_key_is_asked_for(tmp_path: Path) -> None:
    (tmp_path / "topology.toml").write_text(PUBLIC)
    settings = Settings(home=tmp_path, topology=tmp_path / "topology.toml")
    with pytest.raises(Unauthorized, match="has no keys"):
        application(settings, None)
    secrets = ensure_secrets(settings)
    app = application(settings, secrets)
    frontend, n8n = secrets.frontend_key.get_secret_value(), secrets.n8n_key.get_secret_value()
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as client:

        async def ask(headers: dict[str, str]) -> httpx.Response:
            return await client.post("/api/ask", json={"message": "hola"}, headers=headers)

        assert (await ask({})).json()["code"] == "missing_api_key"
        assert (await ask({"authorization": "Bearer wrong"})).json()["code"] == "invalid_api_key"
        assert (await ask({"authorization": f"Bearer {n8n}"})).status_code == 401
        assert (await ask({"authorization": f"Bearer {frontend}"})).json()["who"] == "frontend"
        assert (await ask({"x-api-key": frontend})).json()["who"] == "frontend"
        assert (await client.get("/health/live")).status_code == 200
        assert (await client.get("/metrics")).status_code == 401
        named = {"host": "capibara.example.org", "origin": "https://example.org", "x-api-key": frontend}
        assert (await ask(named)).json()["who"] == "frontend"  # under whatever name a proxy is called


async def test_a_confined_key_opens_its_own_paths_and_no_others(tmp_path: Path) -> None:
    (tmp_path / "topology.toml").write_text(PUBLIC)
    settings = Settings(home=tmp_path, topology=tmp_path / "topology.toml")
    secrets = ensure_secrets(settings)
    key = {"x-api-key": secrets.sandbox_key.get_secret_value()}
    transport = httpx.ASGITransport(application(settings, secrets))
    async with httpx.AsyncClient(transport=transport, base_url="http://test", headers=key) as client:
        assert (await client.post("/api/raw", content=b"four")).json() == 4
        refused = await client.post("/api/ask", json={"message": "hola"})
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
        assert (await client.get("/metrics")).status_code == 403


async def test_a_service_may_speak_anothers_protocol_and_guard_some_requests_itself(tmp_path: Path) -> None:
    topology = tmp_path / "topology.toml"
    topology.write_text(PUBLIC)
    settings = Settings(home=tmp_path, topology=topology, max_body_bytes=10)
    app = FastAPI()

    async def readiness() -> Readiness:
        return Readiness(True)

    @app.post("/body")
    async def body(request: Request) -> dict[str, Any]:
        return {"bytes": len(await request.body()), "principal": current().principal.name}

    install_border(
        app,
        service="chat-api",
        settings=settings,
        secrets=ensure_secrets(settings),
        allowed={"operator"},
        readiness=readiness,
        render=lambda error: JSONResponse({"told": error.code}, error.status),
        unguarded=lambda scope: any(name == b"x-own" for name, _ in scope["headers"]),
    )
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        refused = await client.post("/body", content=b"x" * 100)
        assert (refused.status_code, refused.json()) == (401, {"told": "missing_api_key"})
        passed = await client.post("/body", content=b"x" * 100, headers={"x-own": "1"})
        assert passed.json() == {"bytes": 100, "principal": "anonymous"}
        assert "x-capibara6-run-id" in passed.headers
        assert (await client.get("/nowhere", headers={"x-own": "1"})).json() == {"told": "not_found"}


async def test_where_a_protocol_asks_it_pages_are_looked_at_with_keys_too(tmp_path: Path) -> None:
    (tmp_path / "topology.toml").write_text(PUBLIC)
    settings = Settings(home=tmp_path, topology=tmp_path / "topology.toml", allowed_origins="https://n8n.example.org")
    secrets = ensure_secrets(settings)
    transport = httpx.ASGITransport(application(settings, secrets, admits_with_keys=True))
    key = {"x-api-key": secrets.frontend_key.get_secret_value()}
    async with httpx.AsyncClient(transport=transport, headers=key) as client:

        async def ask(host: str, origin: str) -> int:
            headers = {"origin": origin}
            return (await client.post(f"{host}/api/ask", json={"message": "hola"}, headers=headers)).status_code

        assert await ask("http://192.0.2.2:5003", "http://192.0.2.3:8080") == 200
        assert await ask("https://n8n.example.org", "https://n8n.example.org") == 200
        assert await ask("http://192.0.2.2:5003", "https://evil.example") == 403
        assert await ask("http://evil.example", "http://192.0.2.3:8080") == 421


async def test_a_service_may_ask_on_behalf_of_somebody_and_others_may_not(tmp_path: Path) -> None:
    (tmp_path / "topology.toml").write_text(PUBLIC)
    settings = Settings(home=tmp_path, topology=tmp_path / "topology.toml")
    secrets = ensure_secrets(settings)
    transport = httpx.ASGITransport(application(settings, secrets))
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:

        async def ask(key: str, name: str) -> httpx.Response:
            headers = {"x-api-key": key, "x-capibara6-on-behalf-of": name}
            return await client.post("/api/ask", json={"message": "hola"}, headers=headers)

        services = secrets.services_key.get_secret_value()
        assert (await ask(services, "ana@example.org")).json()["who"] == "ana@example.org"
        for wrong in ("", "Ana", ".ana", "a" * 101, "ana\tb"):
            refused = await ask(services, wrong)
            assert (refused.status_code, refused.json()["code"]) == (400, "invalid_request")
        refused = await ask(secrets.frontend_key.get_secret_value(), "ana")
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


async def test_without_keys_nobody_acts_for_anybody(client: httpx.AsyncClient) -> None:
    headers = {"x-capibara6-on-behalf-of": "ana"}
    assert (await client.post("/api/ask", json={"message": "hola"}, headers=headers)).json()["who"] == "local"


async def test_the_run_that_began_this_one_is_known(client: httpx.AsyncClient) -> None:
    parent = "0190163d-8694-739b-aea5-966c26f8ad90"
    for sent, known in ((parent, parent), ("no run", None)):
        headers = {"x-capibara6-parent-run-id": sent}
        assert (await client.post("/api/ask", json={"message": "hola"}, headers=headers)).json()["parent"] == known
