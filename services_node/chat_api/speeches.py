"""The flow `speech`: a text, a message, a run's answer or a document is spoken, and kept as a file of the run.

What is short is spoken here; what is long, and every document, by the flow worker, whom this server's restarts do not
touch.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass
from pathlib import PurePath
from typing import Annotated

from pydantic import Field, StrictBool, field_validator

from db.records import NewRun
from db.runs import SPEECH_BATCH
from flows.documents import text_of
from flows.file_store import NewFile, one_chunk
from flows.speech import KIND, SpeechRequest, SpeechWork
from flows.speech_asked import ASKED, Asked, written_asked
from services_node.chat_api.batches import ASK_SECONDS
from services_node.chat_api.parts import Parts
from services_node.chat_api.prepared import Prepared
from services_node.chat_api.provenance import labels, provenance
from services_node.chat_api.schemas import Text, storable
from services_node.chat_api.speak_schemas import Speak
from wire.context import current
from wire.errors import TooLarge, ValidationFailed

SOURCES = ("text", "message_id", "run_id", "file_id")
BYTES_OF_A_CHARACTER = 4
NAME_CHARS = 100


class SpeechFlowRequest(Speak):
    """Exactly one of: `text`; `message_id`, of any conversation of yours; `run_id`, whose answer is spoken; `file_id`,
    a document (text or Markdown in UTF-8). captions: the times of the words are kept beside the audio.
    """

    text: Annotated[Text, Field(min_length=1)] | None = None
    message_id: uuid.UUID | None = None
    run_id: uuid.UUID | None = None
    file_id: uuid.UUID | None = None
    captions: StrictBool = False

    _storable = field_validator("text")(lambda text: text if text is None else storable(text))


@dataclass(frozen=True, slots=True)
class Source:
    """A text to be spoken. name: of the file, without its ending. conversation_id: the one it was said in."""

    text: str
    name: str = "speech"
    is_document: bool = False
    conversation_id: uuid.UUID | None = None


async def prepare_speech(parts: Parts, asked: SpeechFlowRequest) -> Prepared:
    """Reads what is to be spoken. Raises ValidationFailed, NotFound, TooLarge, TooManyRequests."""
    settings = parts.settings
    source = await _source(parts, asked)
    if not source.text.strip():
        raise ValidationFailed("There is nothing in it to speak.", code="nothing_to_say", param=_given(asked))
    if len(source.text) > settings.speech_document_chars:
        raise ValidationFailed(
            f"It has {len(source.text)} characters; at most {settings.speech_document_chars} are spoken "
            "(CAPIBARA6_SPEECH_DOCUMENT_CHARS). Cut it into several.",
            code="text_too_long",
            param=_given(asked),
        )
    if source.is_document or len(source.text) > settings.speech_short_chars:
        return _handed_on(parts, asked, source)
    parts.conductor.admit(KIND)

    async def begin() -> None:
        _begin(parts, asked, source)

    return Prepared(begin, KIND)


def _begin(parts: Parts, asked: SpeechFlowRequest, source: Source) -> None:
    """Speaks it beside this server's other runs."""
    context = current()
    owner, run_id = context.principal.name, context.run_id
    request = SpeechRequest(
        context, owner, source.text, asked.wish(), source.name, asked.captions, source.conversation_id
    )
    run = NewRun(
        id=run_id,
        owner=owner,
        kind=KIND,
        conversation_id=source.conversation_id,
        new_conversation=False,
        title="",
        trace_id=context.trace.trace_id,
        stack_id=parts.stack_id,
        instance_id=parts.instance_id,
        requested_model=asked.model,
        messages=(),
        parent_id=context.parent_run_id,
        queued=True,
        **provenance("api"),
    )
    work = SpeechWork(request, parts.narrator, lambda: parts.conductor.written(run_id))
    parts.conductor.begin(work, run, streaming=False)


def _handed_on(parts: Parts, asked: SpeechFlowRequest, source: Source) -> Prepared:
    """Leaves it to the worker."""
    context = current()
    owner, run_id, tags = context.principal.name, context.run_id, labels()
    data = written_asked(Asked(source.text, asked.wish(), source.name, asked.captions, source.conversation_id))

    async def begin() -> None:
        new = NewFile(owner, ASKED, "application/json", run_id, source.conversation_id)
        await parts.files.save(new, one_chunk(data), most_bytes=len(data))
        deployment = f"{SPEECH_BATCH}/{SPEECH_BATCH}"
        flow_run_id = await parts.flows.ask(
            lambda api: api.schedule_batch(deployment, run_id, labels=tags), ASK_SECONDS
        )
        await parts.runs.link_flow(run_id, flow_run_id, recorded=False)

    return Prepared(begin, SPEECH_BATCH)


def _given(asked: SpeechFlowRequest) -> str:
    """The one source that is given. Raises ValidationFailed for none, or more."""
    given = [name for name in SOURCES if getattr(asked, name) is not None]
    if not given:
        raise ValidationFailed("Say what to speak: " + ", ".join(f"`{name}`" for name in SOURCES) + ".",
                               code="missing_field", param="text")  # fmt: skip
    if len(given) > 1:
        raise ValidationFailed(
            f"Send one of {' and '.join(f'`{name}`' for name in given)}, not both.",
            code="ambiguous_source",
            param=given[1],
        )
    return given[0]


async def _source(parts: Parts, asked: SpeechFlowRequest) -> Source:
    owner = current().principal.name
    name = _given(asked)
    if name == "text":
        return Source(asked.text or "")
    if asked.message_id is not None:
        message = await parts.conversations.message(asked.message_id, owner)
        return Source(message.content, "message", conversation_id=message.conversation_id)
    if asked.run_id is not None:
        run = await parts.runs.get(asked.run_id, owner)
        said = [one.content for one in await parts.turns.said(run.id, owner) if one.role == "assistant"]
        if not said:
            raise ValidationFailed("This run has no answer to speak.", code="nothing_to_say", param="run_id")
        return Source(said[-1], "answer", conversation_id=run.conversation_id)
    assert asked.file_id is not None  # noqa: S101 - the fourth of four
    return await _document(parts, asked.file_id, owner)


async def _document(parts: Parts, file_id: uuid.UUID, owner: str) -> Source:
    record, path = await parts.files.find(file_id, owner)
    most_bytes = parts.settings.speech_document_chars * BYTES_OF_A_CHARACTER
    if record.size_bytes > most_bytes:
        raise TooLarge(
            f"{record.name!r} has {record.size_bytes} bytes; a document of at most "
            f"{parts.settings.speech_document_chars} characters is spoken (CAPIBARA6_SPEECH_DOCUMENT_CHARS).",
            code="text_too_long",
            param="file_id",
        )
    text = text_of(record.name, await asyncio.to_thread(path.read_bytes))
    return Source(text, PurePath(record.name).stem[:NAME_CHARS] or "speech", is_document=True)
