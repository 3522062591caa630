"""n8n's own HTTP interface, as its pages use it: workflows keep the ids that their files give them there, which the
public API does not allow. The version is pinned, and the tests run against it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from n8n.errors import NotReached, Refused

READ_SECONDS = 60.0
LABEL = "capibara6"
COOKIE = "n8n-auth"
_AWAY = (429, 502, 503, 504)

Json = dict[str, Any]


def write_secret(path: Path, secret: str) -> None:
    """A file that only its owner can read, from its first byte on."""
    temporary = path.with_suffix(".new")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="ascii") as file:
        file.write(f"{secret}\n")
    temporary.replace(path)


class N8n:
    """One session. Use it as a context manager."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._http = httpx.Client(base_url=url, timeout=READ_SECONDS, trust_env=False)

    def __enter__(self) -> N8n:
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def sign_in(self, email: str, password: str, seconds: float, session: Path) -> None:
        """session: a file, where a session is kept: n8n lets nobody sign in more than a few times a minute.

        Raises NotReached when n8n does not answer in time, Refused when it does not know these.
        """
        deadline = time.monotonic() + seconds
        while True:
            try:
                if self._goes_on(session):
                    return
                self._ask("POST", "/rest/login", {"emailOrLdapLoginId": email, "password": password})
                write_secret(session, self._http.cookies[COOKIE])
            except NotReached:
                if time.monotonic() > deadline:
                    raise
            except Refused as error:
                if error.status not in _AWAY or time.monotonic() > deadline:
                    raise
            else:
                return
            time.sleep(0.5)

    def _goes_on(self, session: Path) -> bool:
        """Whether a kept session is still good; it is this one's then."""
        try:
            self._http.cookies.set(COOKIE, session.read_text(encoding="ascii").strip())
            self._ask("GET", "/rest/login")
        except FileNotFoundError:
            return False
        except Refused as error:
            if error.status in _AWAY:
                raise
            self._http.cookies.clear()
            return False
        return True

    def version(self) -> str:
        return str(self._ask("GET", "/rest/settings").get("versionCli", "unknown"))

    def node_types(self) -> dict[str, set[float]]:
        """All nodes that this n8n has: the versions of each, by name."""
        try:
            reply = self._http.get("/types/nodes.json")
            reply.raise_for_status()
            found: dict[str, set[float]] = {}
            for one in reply.json():
                versions = one["version"]
                found.setdefault(str(one["name"]), set()).update(versions if isinstance(versions, list) else [versions])
            return found
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise NotReached(f"n8n at {self._url} does not tell its nodes: {error}") from None

    def credentials(self) -> list[Json]:
        return list(self._ask("GET", "/rest/credentials"))

    def make_credential(self, name: str, type_: str, data: Mapping[str, Any]) -> str:
        """Returns its id."""
        made = self._ask("POST", "/rest/credentials", {"name": name, "type": type_, "data": dict(data)})
        return str(made["id"])

    def change_credential(self, id_: str, name: str, type_: str, data: Mapping[str, Any]) -> None:
        self._ask("PATCH", f"/rest/credentials/{id_}", {"name": name, "type": type_, "data": dict(data)})

    def workflow(self, id_: str) -> Json | None:
        """None when there is none of this id."""
        if not self._ask("GET", f"/rest/workflows/{id_}/exists")["exists"]:
            return None
        found: Json = self._ask("GET", f"/rest/workflows/{id_}")
        return found

    def make_workflow(self, workflow: Mapping[str, Any]) -> Json:
        made: Json = self._ask("POST", "/rest/workflows", workflow)
        return made

    def change_workflow(self, id_: str, workflow: Mapping[str, Any]) -> Json:
        changed: Json = self._ask("PATCH", f"/rest/workflows/{id_}", workflow)
        return changed

    def remove_workflow(self, id_: str) -> None:
        self._ask("POST", f"/rest/workflows/{id_}/archive", {})
        self._ask("DELETE", f"/rest/workflows/{id_}")

    def activate(self, id_: str, version: str) -> None:
        self._ask("POST", f"/rest/workflows/{id_}/activate", {"versionId": version})

    def make_api_key(self) -> str:
        """A key of the public API in place of an earlier one of ours. It is told here and never again."""
        for known in self._ask("GET", "/rest/api-keys").get("items", []):
            if known.get("label") == LABEL:
                self._ask("DELETE", f"/rest/api-keys/{known['id']}")
        scopes = self._ask("GET", "/rest/api-keys/scopes")
        made = self._ask("POST", "/rest/api-keys", {"label": LABEL, "scopes": scopes, "expiresAt": None})
        return str(made["rawApiKey"])

    def knows(self, api_key: str) -> bool:
        """Whether a key of the public API is still good."""
        try:
            reply = self._http.get("/api/v1/workflows", params={"limit": 1}, headers={"x-n8n-api-key": api_key})
        except httpx.HTTPError as error:
            raise NotReached(f"n8n at {self._url} broke off: {error}") from None
        if reply.status_code in _AWAY or reply.status_code >= 500:
            raise NotReached(f"n8n at {self._url} is busy: it answered {reply.status_code}")
        return reply.status_code not in (401, 403)

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        try:
            reply = self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise NotReached(
                f"n8n at {self._url} does not answer: {error or type(error).__name__}", "./capibara6 logs n8n"
            ) from None
        try:
            content = reply.json()
        except ValueError:
            raise Refused(f"n8n answered {reply.status_code} to {method} {path}, no JSON", reply.status_code) from None
        if reply.status_code >= 400:
            told = content.get("message") if isinstance(content, dict) else None
            raise Refused(f"n8n: {told or f'it answered {reply.status_code} to {method} {path}'}", reply.status_code)
        return content["data"] if isinstance(content, dict) and "data" in content else content
