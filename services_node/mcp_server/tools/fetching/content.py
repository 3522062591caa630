"""Text of what came: a page's own words without its menus, other text as it is."""

from __future__ import annotations

import codecs
import html
import json
import logging
import re
from dataclasses import dataclass

from services_node.mcp_server.errors import ToolFailed
from services_node.mcp_server.tools.fetching.fetch import Fetched

HTML = frozenset({"text/html", "application/xhtml+xml"})
AS_IT_IS = frozenset({
    "application/json", "application/ld+json", "application/xml", "application/yaml", "application/x-yaml",
    "application/toml", "application/javascript", "application/x-ndjson", "application/rss+xml", "application/atom+xml",
})  # fmt: skip
_DECLARED = re.compile(
    rb"""<(?:meta[^>]{0,200}?charset|\?xml[^>]{0,100}?encoding)\s*=\s*["']?([\w-]{1,40})""", re.IGNORECASE
)
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_TITLE = re.compile(r"<title[^>]{0,200}>([^<]{1,500})</title", re.IGNORECASE)
TITLE_WITHIN_CHARS = 20_000
CAREFUL_CHARS = 300_000  # a longer page is read the quick way: several ways are compared otherwise, for many seconds
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


# It tells of pages, and pages are nobody's fault here; what comes of them is told to who asked.
logging.getLogger("trafilatura").setLevel(logging.CRITICAL)


@dataclass(frozen=True, slots=True)
class PageText:
    title: str | None
    text: str


def kind_of(page: Fetched) -> str:
    """The media type, guessed from the first bytes where the server says none. Raises ToolFailed for no text."""
    media_type = page.media_type
    if not media_type:
        start = page.data[:1000].lstrip()
        media_type = "text/html" if start[:1] == b"<" else "text/plain"
    if media_type.startswith("text/") or media_type in HTML | AS_IT_IS or media_type.endswith(("+json", "+xml")):
        if b"\x00" in page.data[:1000] and not page.data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise ToolFailed("What is there says it is text, and is not.")
        return media_type
    raise ToolFailed(
        f"What is there is `{media_type[:80]}`: only text is read (HTML, plain text, Markdown, JSON, XML), no PDFs, "
        "images, archives or programs."
    )


def text_of(page: Fetched) -> PageText:
    """What a reader of the page reads. Takes a while for a long one: to be called in a thread. Raises ToolFailed."""
    media_type = kind_of(page)
    text = _CONTROL.sub("", decoded(page))
    if media_type in HTML:
        return _html(text, page.url)
    if (media_type == "application/json" or media_type.endswith("+json")) and not page.cut:
        text = _even(text)
    return PageText(None, text.strip())


def decoded(page: Fetched) -> str:
    """By byte order mark, header, declaration in the page, as UTF-8, or else as what older pages are in."""
    for mark, encoding in _BOMS:
        if page.data.startswith(mark):
            return page.data.decode(encoding, "replace").lstrip("\ufeff")
    declared = _DECLARED.search(page.data[:4096])
    for name in (page.charset, declared[1].decode("ascii") if declared else None):
        try:
            if name is not None and codecs.lookup(name)._is_text_encoding:
                return page.data.decode(name, "replace")
        except (LookupError, UnicodeError, ValueError):
            continue
    try:
        return page.data.decode("utf-8", "replace" if page.cut else "strict")
    except UnicodeDecodeError:
        return page.data.decode("cp1252", "replace")


def _html(text: str, url: str) -> PageText:
    import trafilatura  # a quarter of a second, for the first page only

    if "<body" not in text.lower():
        text = f"<html><body>{text}</body></html>"
    found = trafilatura.extract(
        text,
        url=url,
        output_format="markdown",
        include_tables=True,
        include_links=True,
        fast=len(text) > CAREFUL_CHARS,
    )
    if not found:
        found = trafilatura.html2txt(text)
    return PageText(_title(text), (found or "").strip())


def _title(text: str) -> str | None:
    named = _TITLE.search(text[:TITLE_WITHIN_CHARS])
    return " ".join(html.unescape(named[1]).split()) or None if named else None


def _even(text: str) -> str:
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, indent=1)
    except (ValueError, RecursionError):
        return text
