"""Rich results: from IPython's MIME bundles to the names that the SDK's `Result` has. Pure."""

import base64
from collections.abc import Mapping
from typing import Any

NAMES = {
    "text/plain": "text",
    "text/html": "html",
    "text/markdown": "markdown",
    "image/svg+xml": "svg",
    "image/png": "png",
    "image/jpeg": "jpeg",
    "application/pdf": "pdf",
    "text/latex": "latex",
    "application/json": "json",
    "application/javascript": "javascript",
    "e2b/data": "data",
    "e2b/chart": "chart",
}


def result_data(bundle: Mapping[str, Any]) -> dict[str, Any]:
    """The bundle by the SDK's names; MIME types it has no name for are under `extra`. Bytes become base64 text."""
    data: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for mime, value in bundle.items():
        plain = base64.b64encode(value).decode("ascii") if isinstance(value, bytes) else value
        name = NAMES.get(mime)
        if name is None:
            extra[mime] = plain
        elif name == "text" and isinstance(plain, str):
            data[name] = without_quotes(plain)
        elif name in ("png", "jpeg", "pdf") and isinstance(plain, str):
            data[name] = plain.replace("\n", "")
        else:
            data[name] = plain
    if extra:
        data["extra"] = extra
    return data


def without_quotes(text: str) -> str:
    """E2B shows the value of a string, not its repr: `'a'` is shown as `a`."""
    for quote in ("'", '"'):
        if len(text) >= 2 and text.startswith(quote) and text.endswith(quote):
            return text[1:-1]
    return text
