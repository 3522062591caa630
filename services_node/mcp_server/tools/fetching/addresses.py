"""Which URLs may be fetched: the public internet's (`wire.addresses`), and nothing that only looks like it."""

from __future__ import annotations

import re
from collections.abc import Set

import httpx

from services_node.mcp_server.errors import ToolFailed

MAX_URL_CHARS = 2048
PORTS = {"http": 80, "https": 443}
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*:(?!\d)")  # `example.org:80` has none


def checked_url(text: str, ports: Set[int]) -> httpx.URL:
    """A URL that may be asked, without its fragment; `https://` is added where no scheme is given.

    ports: those that may be asked. Raises ToolFailed, which says what is wrong with it.
    """
    given = text.strip().strip("<>")
    if not given or len(given) > MAX_URL_CHARS:
        raise ToolFailed(f"Give one URL, as `https://example.org/page`, of at most {MAX_URL_CHARS} characters.")
    if not _SCHEME.match(given):
        given = f"https://{given}"
    try:
        url = httpx.URL(given)
    except (httpx.InvalidURL, ValueError):
        raise ToolFailed(f"`{given[:200]}` is not a URL. Give one as `https://example.org/page`.") from None
    return checked(url, ports)


def checked(url: httpx.URL, ports: Set[int]) -> httpx.URL:
    """The same URL without its fragment. Raises ToolFailed for one that may not be asked."""
    if url.scheme not in PORTS:
        raise ToolFailed(f"Only http and https are fetched, not `{url.scheme[:20]}`.")
    if url.userinfo:
        raise ToolFailed("A URL with a user name or password in it is not fetched. Leave them out.")
    if not url.raw_host:
        raise ToolFailed(f"`{str(url)[:200]}` names no host. Give a URL as `https://example.org/page`.")
    port = url.port or PORTS[url.scheme]
    if port not in ports:
        allowed = ", ".join(str(one) for one in sorted(ports))
        raise ToolFailed(f"Port {port} is not fetched; allowed: {allowed} (CAPIBARA6_FETCH_PORTS).")
    return url.copy_with(fragment=None)
