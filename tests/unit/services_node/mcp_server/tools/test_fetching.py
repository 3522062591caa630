"""Which URLs may be fetched, and what is made of what came."""

from __future__ import annotations

from typing import Any

import pytest

from services_node.mcp_server.errors import ToolFailed
from services_node.mcp_server.tools.fetching.addresses import checked_url
from services_node.mcp_server.tools.fetching.content import MOST_TAGS, decoded, text_of
from services_node.mcp_server.tools.fetching.fetch import Fetched

PORTS = frozenset({80, 443})


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.org/", "http and https"),
        ("file:///etc/passwd", "http and https"),
        ("gopher://example.org/", "http and https"),
        ("javascript://example.org/%0aalert(1)", "http and https"),
        ("http://user:secret@example.org/", "user name or password"),
        ("http://user@example.org/", "user name or password"),
        ("http://example.org:22/", "Port 22"),
        ("http://example.org:5432/", "allowed: 80, 443"),
        ("http:///path", "no host"),
        ("http://[::1", "not a URL"),
        ("http://exa mple.org/\r\nX: y", "not a URL"),
        ("", "one URL"),
        ("https://example.org/" + "a" * 3000, "2048"),
    ],
)
def test_a_url_that_is_none_of_a_public_page_is_refused(url: str, reason: str) -> None:
    with pytest.raises(ToolFailed, match=reason):
        checked_url(url, PORTS)


@pytest.mark.parametrize(
    ("given", "url"),
    [
        ("https://example.org/a?b=c#d", "https://example.org/a?b=c"),
        ("example.org/page", "https://example.org/page"),
        (" <http://example.org> ", "http://example.org"),
        ("https://español.example/", "https://xn--espaol-zwa.example/"),
    ],
)
def test_a_url_is_taken_as_people_write_it(given: str, url: str) -> None:
    assert str(checked_url(given, PORTS)) in (url, f"{url}/", given.strip())


def page(data: bytes, media_type: str = "text/html", charset: str | None = None, *, cut: bool = False) -> Fetched:
    return Fetched("http://example.org/", "example.org", media_type, charset, data, cut)


@pytest.mark.parametrize(
    ("media_type", "data", "text"),
    [
        ("text/plain", b"uno dos", "uno dos"),
        ("text/markdown", b"# Uno\n\n- dos", "# Uno\n\n- dos"),
        ("application/json", '{"a": "ñ"}'.encode(), '{\n "a": "ñ"\n}'),
        ("application/problem+json", b"not json", "not json"),
        ("application/atom+xml", b"<feed/>", "<feed/>"),
        ("", b"plain words", "plain words"),
    ],
)
def test_other_text_stays_as_it_is(media_type: str, data: bytes, text: str) -> None:
    assert text_of(page(data, media_type)).text == text


@pytest.mark.parametrize(
    "media_type", ["application/pdf", "image/png", "application/zip", "application/octet-stream", "video/mp4"]
)
def test_what_is_no_text_is_refused_by_its_type(media_type: str) -> None:
    with pytest.raises(ToolFailed, match=media_type):
        text_of(page(b"%PDF-1.7", media_type))


def test_binary_that_says_it_is_text_is_refused() -> None:
    with pytest.raises(ToolFailed, match="and is not"):
        text_of(page(b"\x7fELF\x00\x00", "text/plain"))


@pytest.mark.parametrize(
    ("data", "charset", "text"),
    [
        ("año".encode("latin-1"), "iso-8859-1", "año"),
        ("año".encode(), None, "año"),
        ("año".encode("cp1252"), None, "año"),
        ("año".encode("utf-16"), None, "año"),
        (b"<meta charset='iso-8859-1'>a\xf1o", None, "<meta charset='iso-8859-1'>año"),
        ("año".encode(), "no-such-charset", "año"),
        ("año".encode(), "base64", "año"),
    ],
)
def test_a_text_is_decoded_by_what_is_known_of_it(data: bytes, charset: str | None, text: str) -> None:
    assert decoded(page(data, charset=charset)) == text


@pytest.mark.parametrize("charset", ["punycode", "idna", "utf-7", "unicode_escape", "raw_unicode_escape"])
def test_only_charsets_that_pages_are_in_are_taken_at_their_word(charset: str) -> None:
    text = "año \\u0041 +AGE-"
    assert decoded(page(text.encode(), charset=charset)) == text
    assert decoded(page(f"<meta charset='{charset}'>{text}".encode())).endswith(text)


@pytest.mark.parametrize("charset", ["UTF-8", "latin1", "windows-1252", "gbk", "Big5", "EUC-JP", "Shift_JIS", "koi8-r"])
def test_every_usual_charset_is_read(charset: str) -> None:
    assert decoded(page("ab".encode(charset), charset=charset)) == "ab"


def test_a_page_of_very_many_tags_is_read_by_its_text_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import trafilatura

    def never(*args: Any, **how: Any) -> str:
        raise AssertionError("the careful way cannot be stopped once it has begun")

    monkeypatch.setattr(trafilatura, "extract", never)
    found = text_of(page(b"<html><body>" + b"<p>uno</p>" * (MOST_TAGS // 2 + 10) + b"<p>end</p></body></html>"))
    assert found.text.startswith("uno") and found.text.endswith("end")


def test_a_tag_of_very_many_attributes_is_read_without_them() -> None:
    many = " ".join(f"a{number}='>'" for number in range(100_000))
    text = "Rivers run from the mountains to the sea. " * 5
    found = text_of(page(f"<html><body><article {many}><p>{text}</p></article></body></html>".encode()))
    assert text.strip() in found.text


def test_a_cell_that_claims_to_be_thousands_is_one() -> None:
    rows = "<tr><td colspan=1000>uno</td><td ROWSPAN = '900'>dos</td></tr>" * 300
    found = text_of(page(f"<html><body><article><table>{rows}</table></article></body></html>".encode()))
    assert found.text.count("uno") == 300 and len(found.text) < 20_000


@pytest.mark.parametrize("piece", ["<a ", "<a b='", "<script ", "<!-- ", "<a b=\"'", "<p a=", "<"])
def test_tags_that_never_end_are_looked_through_once(piece: str) -> None:
    text_of(page(b"<html><body><p>uno</p>" + piece.encode() * (500_000 // len(piece))))


def test_scripts_are_not_taken_for_tags() -> None:
    script = "<script>if (a<b && c=='\"') { x = \"" + "y" * 2000 + '" }</script>'
    text = "Rivers run from the mountains to the sea. " * 5
    assert text.strip() in text_of(page(f"<html><body>{script}<p>{text}</p></body></html>".encode())).text
