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
CHARSETS = frozenset({
    "ascii", "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-32-be", "iso8859-1",
    *(f"iso8859-{part}" for part in range(2, 17) if part != 12), *(f"cp125{part}" for part in range(9)), "cp874",
    "cp866", "gb2312", "gbk", "gb18030", "hz", "big5", "big5hkscs", "euc_jp", "euc_kr", "euc_jis_2004", "shift_jis",
    "shift_jis_2004", "cp932", "cp949", "iso2022_jp", "koi8-r", "koi8-u", "mac-roman", "tis-620",
})  # fmt: skip
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_TITLE = re.compile(r"<title[^>]{0,200}>([^<]{1,500})</title", re.IGNORECASE)
TITLE_WITHIN_CHARS = 20_000
# Nobody can stop a page from being read once it has begun, so every page is one that takes a second or two at most.
CAREFUL_CHARS = 300_000  # a longer page is read the quick way: several ways are compared otherwise
MOST_TAGS = 40_000  # of more than that, the text alone is read: about 25 us a tag otherwise
TAG_CHARS = 1000  # a longer tag loses its attributes: the parser compares each with all before it
_TAG = re.compile(
    r"<(?:script|style)\b.*?(?:</(?:script|style)\s*>|\Z)|<!--.*?(?:-->|\Z)"
    r"""|<(?P<name>[a-z][a-z0-9]{0,20}+)(?:[^>=]++|=\s*+(?:"[^"]*+"|'[^']*+')?+)*+>?""",
    re.IGNORECASE | re.DOTALL,
)
_SPAN = re.compile(r"(?<![\w-])(?:col|row)span\s*=", re.IGNORECASE)  # a cell may claim to be thousands
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
        if (known := _charset(name)) is not None:
            return page.data.decode(known, "replace")
    try:
        return page.data.decode("utf-8", "replace" if page.cut else "strict")
    except UnicodeDecodeError:
        return page.data.decode("cp1252", "replace")


def _charset(name: str | None) -> str | None:
    """One of those that pages are in. Python knows others, some of which take minutes for a page."""
    try:
        known = codecs.lookup(name).name if name is not None else None
    except (LookupError, UnicodeError, ValueError):
        return None
    return known if known in CHARSETS else None


def _html(text: str, url: str) -> PageText:
    import trafilatura  # a quarter of a second, for the first page only

    if "<body" not in text.lower():
        text = f"<html><body>{text}</body></html>"
    text = _TAG.sub(_light, text)
    found = None
    if text.count("<") <= MOST_TAGS:
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


def _light(found: re.Match[str]) -> str:
    """A tag without what takes the parser or the extractor long; scripts and comments as they are."""
    name = found["name"]
    if name is None:
        return found[0]
    return f"<{name}>" if len(found[0]) > TAG_CHARS else _SPAN.sub(" ", found[0])


def _title(text: str) -> str | None:
    named = _TITLE.search(text[:TITLE_WITHIN_CHARS])
    return " ".join(html.unescape(named[1]).split()) or None if named else None


def _even(text: str) -> str:
    try:
        return json.dumps(json.loads(text), ensure_ascii=False, indent=1)
    except (ValueError, RecursionError):
        return text
