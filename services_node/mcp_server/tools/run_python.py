"""`run_python`: code in a sandbox, with files in and out, by the chat API on the caller's behalf."""

from __future__ import annotations

import base64
import time
from contextlib import aclosing
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field

from services_node.mcp_server.asking import asking
from services_node.mcp_server.registry import (
    Call,
    ContentBlock,
    ImageContent,
    Registry,
    ResourceLink,
    TextContent,
    ToolFailed,
    ToolReply,
)
from services_node.mcp_server.tools.code_told import CodeOutcome, GivenFile, outcome_of
from wire.errors import ApiError

registry = Registry()

LONGEST_SECONDS = 300  # CAPIBARA6_CODE_MAX_TIMEOUT_SECONDS may say less
SHOWN_IMAGES = 4
IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})
TELL_SECONDS = 0.5  # progress is told no more often


@registry.tool(
    title="Run Python",
    timeout_seconds=LONGEST_SECONDS + 60,
    untrusted=True,  # its input may come from files and pages
    marked=False,
    cost="expensive",
    output=CodeOutcome,
    examples=(
        ('Run Python code that prints the first five squares', {'code': 'for n in range(1, 6):\n    print(n * n)'}),
        ("Ejecuta código Python que cuente las letras de 'capibara'", {'code': "print(len('capibara'))"}),
    ),
    keywords={
        "es": ("python", "código", "ejecuta", "ejecutar", "programa", "script", "gráfico", "gráfica", "csv", "datos",
               "analiza", "simula", "algoritmo", "pandas", "tabla", "excel", "estadística"),
        "en": ("python", "code", "run", "execute", "program", "script", "plot", "chart", "csv", "data", "analyse",
               "analyze", "simulate", "algorithm", "pandas", "table", "excel", "statistics"),
    },
)  # fmt: skip
async def run_python(
    code: Annotated[
        str, Field(min_length=1, max_length=200_000, description="Python code. Print what you want to see.")
    ],
    files: Annotated[
        list[GivenFile] | None, Field(max_length=20, description="Files the code finds in its working directory.")
    ] = None,
    timeout_seconds: Annotated[
        float | None, Field(gt=0, le=LONGEST_SECONDS, description="Seconds it may take.")
    ] = None,
    *,
    call: Call,
) -> ToolReply:
    """Runs Python in an isolated sandbox without internet (numpy, pandas, matplotlib, sympy are there) and returns what
    it printed, its last value, figures and the files it made."""
    request: dict[str, Any] = {"code": code, "language": "python"}
    if files:
        request["files"] = [file.model_dump(mode="json", exclude_none=True) for file in files]
    if timeout_seconds is not None:
        request["timeout_seconds"] = timeout_seconds
    with asking("file"):
        outcome = outcome_of(await _ran(request, call))
    images = await _images(outcome, call)
    links = [
        ResourceLink(
            uri=file.uri,
            name=file.name,
            mime_type=file.media_type,
            size=file.size_bytes,
        )
        for file in outcome.files
    ]
    content: list[ContentBlock] = [TextContent(text=outcome.text()), *images, *links]
    return ToolReply(content=tuple(content), structured=outcome, failed=not outcome.ok)


async def _ran(request: dict[str, Any], call: Call) -> dict[str, Any]:
    """The whole reply of a run. Leaving early closes the request, which cancels the run."""
    started, told_at, printed = time.monotonic(), 0.0, 0
    async with aclosing(call.parts.assistant.run_code(request)) as events:
        async for event in events:
            kind = event.get("type")
            if kind == "end":
                return event
            if kind == "error" and event.get("done"):
                raise ToolFailed(str((event.get("error") or {}).get("detail") or "The sandbox failed."))
            printed += len(str(event.get("content") or "")) if kind in ("stdout", "stderr") else 0
            now = time.monotonic()
            if kind == "start" or now - told_at >= TELL_SECONDS:
                told_at = now
                message = "the sandbox is ready" if kind == "start" else f"running; {printed} characters printed"
                await call.progress(round(now - started, 3), None, message)
    raise ToolFailed("The run broke off before it ended. Try again.")


async def _images(outcome: CodeOutcome, call: Call) -> list[ImageContent]:
    """The first figures, where they are small enough to show."""
    most = call.parts.settings.mcp_result_binary_bytes
    shown = []
    for file in [one for one in outcome.files if one.media_type in IMAGES and one.size_bytes <= most][:SHOWN_IMAGES]:
        try:
            data = await call.parts.assistant.file_content(UUID(file.id), most)
        except ApiError:
            continue  # the code has run; its link is there all the same
        shown.append(ImageContent(data=base64.b64encode(data).decode(), mime_type=file.media_type))
    return shown
