"""`capibara6://runs/{run_id}`, `conversations/{conversation_id}`, `files/{file_id}`, `models`: the caller's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from services_node.mcp_server.asking import an_id, reading
from services_node.mcp_server.registry import Call, Page, Registry, ResourceEntry
from services_node.mcp_server.tools.list_models import Models, models_told

registry = Registry()

LISTED = 50  # of a page of a list
MESSAGES = 1000  # of a conversation, its newest
MESSAGES_ASKED = 20  # at once: each may be long, and what has no room in the answer is not read at all
HEAD_CHARS = 60  # of a message's heading, about
SPEAKERS = {"user": "User", "assistant": "Assistant", "system": "System"}
TEXTS = frozenset({"application/json", "application/xml", "application/yaml", "application/javascript"})


def listed(kind: str, page: Mapping[str, Any], described: Callable[[Mapping[str, Any]], dict[str, Any]]) -> Page:
    """A page of the chat API's, as resources `capibara6://KIND/ID`."""
    entries = (ResourceEntry(uri=f"capibara6://{kind}/{one['id']}", **described(one)) for one in page[kind])
    return Page(tuple(entries), page.get("next_cursor"))


async def list_runs(call: Call, cursor: str | None) -> Page:
    with reading("list of runs"):
        page = await call.parts.assistant.runs(LISTED, cursor)
    return listed(
        "runs",
        page,
        lambda one: {
            "name": str(one["id"]),
            "title": f"{one['kind']} of {one['created_at'][:16]}: {one['status']}",
            "mime_type": "application/json",
        },
    )


async def run_ids(beginning: str, call: Call) -> list[str]:
    with reading("list of runs"):
        return _beginning((await call.parts.assistant.runs(LISTED))["runs"], beginning)


@registry.resource(
    "capibara6://runs/{run_id}",
    name="run",
    title="A run",
    mime_type="application/json",
    lister=list_runs,
    complete={"run_id": run_ids},
)
async def run(run_id: str, *, call: Call) -> Mapping[str, Any]:
    """A run's whole story: status, steps, timings, files."""
    with reading("run"):
        return await call.parts.assistant.run(an_id(run_id, "run"))


async def list_conversations(call: Call, cursor: str | None) -> Page:
    with reading("list of conversations"):
        page = await call.parts.assistant.conversations(LISTED, cursor)
    return listed(
        "conversations",
        page,
        lambda one: {
            "name": str(one["id"]),
            "title": one.get("title") or "untitled",
            "mime_type": "text/markdown",
        },
    )


async def conversation_ids(beginning: str, call: Call) -> list[str]:
    with reading("list of conversations"):
        return _beginning((await call.parts.assistant.conversations(LISTED))["conversations"], beginning)


@registry.resource(
    "capibara6://conversations/{conversation_id}",
    name="conversation",
    title="A conversation",
    mime_type="text/markdown",
    lister=list_conversations,
    complete={"conversation_id": conversation_ids},
)
async def conversation(conversation_id: str, *, call: Call) -> str:
    """A conversation with its newest messages, as Markdown."""
    known = an_id(conversation_id, "conversation")
    room = call.parts.settings.mcp_resource_bytes
    messages: list[Mapping[str, Any]] = []  # newest first
    before: str | None = None
    with reading("conversation"):
        while True:
            found = await call.parts.assistant.conversation(known, MESSAGES_ASKED, before)
            page = found["messages"]
            for message in reversed(page):
                room -= len(message["content"]) + HEAD_CHARS
                if messages and (room < 0 or len(messages) == MESSAGES):
                    return as_markdown(found, messages[::-1], whole=False)
                messages.append(message)
            if len(page) < MESSAGES_ASKED:
                return as_markdown(found, messages[::-1])
            before = str(page[0]["id"])


def as_markdown(conversation: Mapping[str, Any], messages: Sequence[Mapping[str, Any]], *, whole: bool = True) -> str:
    """A heading for each message, oldest first."""
    parts = [f"# {conversation.get('title') or 'Conversation'}"]
    if not whole:
        parts.append("[Earlier messages are left out.]")
    for message in messages:
        speaker = SPEAKERS.get(message["role"], message["role"])
        by = f" ({message['model']})" if message.get("model") else ""
        parts.append(f"## {speaker}{by}, {str(message['created_at'])[:19].replace('T', ' ')}\n\n{message['content']}")
    return "\n\n".join(parts) + "\n"


async def list_files(call: Call, cursor: str | None) -> Page:
    with reading("list of files"):
        page = await call.parts.assistant.files(LISTED, cursor)
    return listed(
        "files",
        page,
        lambda one: {
            "name": str(one["name"]),
            "mime_type": one.get("media_type"),
            "size": one.get("size_bytes"),
        },
    )


async def file_ids(beginning: str, call: Call) -> list[str]:
    with reading("list of files"):
        return _beginning((await call.parts.assistant.files(LISTED))["files"], beginning)


@registry.resource(
    "capibara6://files/{file_id}",
    name="file",
    title="A file",
    mime_type="application/octet-stream",
    lister=list_files,
    complete={"file_id": file_ids},
)
async def file(file_id: str, *, call: Call) -> str | bytes:
    """A file that was uploaded or that a run made: text as it is, anything else as base64."""
    most = call.parts.settings.mcp_resource_bytes
    with reading("file"):
        known = an_id(file_id, "file")
        about = await call.parts.assistant.file(known)
        # one byte more than may be read: what is longer is cut, or refused where half of it is worth nothing
        data = await call.parts.assistant.file_content(known, most + 1)
    media_type = str(about["media_type"])
    if not (media_type.startswith("text/") or media_type in TEXTS):
        return data
    try:
        # a character that the limit cut in two is no reason to call a text binary
        return data.decode("utf-8", "ignore" if len(data) > most else "strict")
    except UnicodeDecodeError:
        return data


@registry.resource("capibara6://models", name="models", title="Models", mime_type="application/json")
async def models(*, call: Call) -> Models:
    """The models of this installation."""
    with reading("list of models"):
        return models_told(await call.parts.assistant.models())


def _beginning(entries: Iterable[Mapping[str, Any]], beginning: str) -> list[str]:
    return [str(one["id"]) for one in entries if str(one["id"]).startswith(beginning)]
