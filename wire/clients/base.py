"""What every client shares: one kept-alive connection pool, the run's headers, errors by name."""

from __future__ import annotations

import json
from typing import Any

import httpx

from wire import telemetry
from wire.clients.traced import TracedTransport
from wire.context import outgoing_headers
from wire.errors import ApiError, DeadlineExceeded, Unavailable, UpstreamFailed, error_of


class ServiceClient:
    """Base of the clients. `name` is how errors call the service; `key` is sent as a bearer token."""

    def __init__(
        self,
        base_url: str,
        *,
        name: str,
        key: str | None = None,
        connect_seconds: float = 2,
        read_seconds: float = 60,
    ) -> None:
        self.name = name
        self.base_url = base_url
        limits = httpx.Limits(max_connections=256, max_keepalive_connections=64, keepalive_expiry=60)
        # Nodes talk to each other directly, never through somebody's proxy.
        transport: httpx.AsyncBaseTransport = httpx.AsyncHTTPTransport(limits=limits, trust_env=False)
        self._http = httpx.AsyncClient(
            base_url=base_url,
            headers={"authorization": f"Bearer {key}"} if key else {},
            timeout=httpx.Timeout(read_seconds, connect=connect_seconds, pool=connect_seconds),
            transport=TracedTransport(transport, name) if telemetry.on() else transport,
            trust_env=False,
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def get_json(self, path: str, **params: Any) -> Any:
        """The JSON body of a GET. Raises the named error of a status ≥ 400, Unavailable when nobody answers."""
        try:
            reply = await self._http.get(path, params=params or None, headers=outgoing_headers())
        except httpx.HTTPError as error:
            raise self.unreachable(error) from error
        if reply.status_code >= 400:
            raise error_from_body(self.name, reply.status_code, reply.content, reply.headers)
        return self.json_of(reply)

    def json_of(self, reply: httpx.Response) -> Any:
        """A reply's body. Raises UpstreamFailed for one that is no JSON: something else answers at this address."""
        try:
            return reply.json()
        except ValueError:
            raise UpstreamFailed(f"{self.name} at {self.base_url} answered with what is no JSON.") from None

    def unreachable(self, error: httpx.HTTPError) -> ApiError:
        """A transport error, by what it means to the caller."""
        if isinstance(error, httpx.ReadTimeout):
            return DeadlineExceeded(f"{self.name} did not answer in time.", code=f"{_word(self.name)}_timeout")
        if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout):
            return Unavailable(
                f"{self.name} at {self.base_url} cannot be reached.",
                code=f"{_word(self.name)}_unreachable",
                retry_after_seconds=5,
            )
        return Unavailable(
            f"{self.name} broke the connection ({type(error).__name__}).",
            code=f"{_word(self.name)}_disconnected",
            retry_after_seconds=1,
        )


def error_from_body(name: str, status: int, body: bytes, headers: httpx.Headers) -> ApiError:
    """Reads either error shape; a body in neither is told by its status alone."""
    try:
        content = json.loads(body)
    except ValueError:
        content = {}
    told = content.get("error", content) if isinstance(content, dict) else {}
    told = told if isinstance(told, dict) else {"message": told}
    detail = told.get("message") or told.get("detail") or f"{name} answered {status}."
    retry = headers.get("retry-after", "")
    return error_of(
        status,
        str(detail),
        code=str(told["code"]) if told.get("code") else None,
        param=told.get("param"),
        retry_after_seconds=float(retry) if retry.isdecimal() else None,
    )


def _word(name: str) -> str:
    return name.replace("-", "_").replace(" ", "_")
