"""A turn told as OpenAI's chat completion, whole or in chunks. Pure."""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass, field
from typing import Any

from flows.conduct import Ended
from flows.turn import Started, Token, Transcript, TurnEvent
from services_node.chat_api.openai_door.names import completion_id, given_call
from services_node.chat_api.openai_door.reading import ASSISTANT
from services_node.chat_api.telling import TurnEnded, tool_call, usage
from wire.errors import openai_error
from wire.sse import encode

DONE = b"data: [DONE]\n\n"


def finish_reason(said: Transcript) -> str:
    if said.client_calls:
        return "tool_calls"
    return said.finish_reason if said.finish_reason in {"length", "content_filter"} else "stop"


def story(run_id: uuid.UUID, conversation_id: uuid.UUID | None, ended: TurnEnded) -> dict[str, Any]:
    """What is ours to tell beside OpenAI's: where the run is, who answered and why, and the server's tools it used."""
    said = ended.account
    return {
        "run_id": str(run_id),
        "conversation_id": str(conversation_id) if conversation_id else None,
        "model": said.model,
        "route": said.route,
        "tool_calls": [tool_call(record) for record in said.tool_calls],
    }


@dataclass(slots=True)
class Completion:
    """One chat completion. asked: the model of the request, told until it is known who answers."""

    run_id: uuid.UUID
    conversation_id: uuid.UUID | None
    asked: str | None = None
    with_usage: bool = False
    created: int = field(default_factory=lambda: int(time.time()))
    _model: str | None = None
    _begun: bool = False

    def whole(self, ended: TurnEnded) -> dict[str, Any]:
        """The completion of a turn that went well."""
        said = ended.account
        self._model = said.model
        message: dict[str, Any] = {"role": "assistant", "content": said.text, "refusal": None}
        if said.client_calls:
            message |= {"content": said.text or None, "tool_calls": self._calls(said)}
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish_reason(said)}
        told = self._told("chat.completion", [choice])
        return told | {"usage": usage(ended), "capibara6": story(self.run_id, self.conversation_id, ended)}

    def written(self, happened: TurnEvent | TurnEnded) -> bytes:
        """The events of a stream that this is told in; none for the server's own tools."""
        match happened:
            case Started(model, _):
                self._model = model or self._model
                return self._begin()
            case Token(text):
                return self._begin() + self._chunk({"content": text})
            case Ended(error=None):
                return self._begin() + self._end(happened)
            case Ended(error=error) if error is not None:
                return encode(openai_error(error))  # without [DONE]: it was not
        return b""

    def _begin(self) -> bytes:
        if self._begun:
            return b""
        self._begun = True
        return self._chunk({"role": "assistant", "content": "", "refusal": None})

    def _end(self, ended: TurnEnded) -> bytes:
        said = ended.account
        calls = [call | {"index": index} for index, call in enumerate(self._calls(said))]
        body = self._chunk({"tool_calls": calls}) if calls else b""
        told = story(self.run_id, self.conversation_id, ended)
        body += self._chunk({}, finish_reason(said), capibara6=told)
        if self.with_usage:
            body += encode(self._told("chat.completion.chunk", []) | {"usage": usage(ended)})
        return body + DONE

    def _calls(self, said: Transcript) -> list[dict[str, Any]]:
        calls = [call.openai() for call in said.client_calls]
        return [call | {"id": given_call(self.run_id, call["id"])} for call in calls]

    def _chunk(self, delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        nothing = {"usage": None} if self.with_usage else {}
        return encode(self._told("chat.completion.chunk", [choice]) | nothing | more)

    def _told(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": completion_id(self.run_id),
            "object": kind,
            "created": self.created,
            "model": self._model or self.asked or ASSISTANT,
            "system_fingerprint": None,
            "choices": choices,
        }
