"""Removing a conversation with all that is its own: messages, files, its sandbox."""

from __future__ import annotations

import uuid

from services_node.chat_api.parts import Parts, owner


async def remove_conversation(parts: Parts, conversation_id: uuid.UUID) -> None:
    """What is under way in it is cancelled, its runs stay. Raises NotFound."""
    await parts.conversations.get(conversation_id, owner())
    for active in parts.conductor.of_conversation(conversation_id):
        active.cancel("cancelled_by_client")
        await active.ended()
    files = await parts.conversations.remove(conversation_id, owner())
    for active in parts.conductor.of_conversation(conversation_id):  # one that began meanwhile has no place any more
        active.cancel("cancelled_by_client")
    parts.sandboxes.close_conversation(owner(), conversation_id)
    await parts.files.remove_bytes(files)
