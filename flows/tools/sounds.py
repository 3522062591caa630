"""Sounds that a tool of ours answers with: a model reads none, so they become files of the turn's run."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from flows.audio import FORMS
from flows.code import FileKeeper
from flows.code_told import file_url
from flows.file_store import NewFile, one_chunk
from wire.clients.mcp import ToolResult, block_told
from wire.errors import ApiError

if TYPE_CHECKING:
    from flows.tools.box import Surroundings

_ENDINGS = {form.media_type: form.ending for form in FORMS.values()}


async def text_with_sounds(result: ToolResult, files: FileKeeper, around: Surroundings) -> str:
    """What a model reads of a result: of a sound, the file that it is now."""
    return "\n".join([await _told(block, files, around) for block in result.content])


async def _told(block: Mapping[str, Any], files: FileKeeper, around: Surroundings) -> str:
    ending = _ENDINGS.get(str(block.get("mimeType")))
    if block.get("type") != "audio" or ending is None:
        return block_told(block)
    try:
        data = base64.b64decode(str(block.get("data")), validate=True)
        await around.written()
        new = NewFile(
            around.context.principal.name, f"speech.{ending}", str(block["mimeType"]), around.context.run_id,
            around.conversation_id,
        )  # fmt: skip
        file = await files.save(new, one_chunk(data), most_bytes=len(data))
    except binascii.Error:
        return block_told(block)
    except ApiError as error:  # what else the tool says is not lost for it
        return f"file not kept: speech.{ending}: {error.detail}"
    return f"file kept: {file.name} ({file.media_type}, {file_url(file)})"
