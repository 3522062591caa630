"""`./capibara6 chat "question"`: one question to the running stack, streamed to the terminal."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys

from stack.errors import StackError
from stack.secrets import load_secrets
from stack.settings import get_settings
from stack.topology import keys_needed, load_topology
from wire.clients.chat import ChatClient
from wire.errors import ApiError

SHOWN_CHARS = 160  # of a tool's arguments or result


async def ask(client: ChatClient, request: dict[str, object]) -> int:
    """Prints the answer as it comes, then one line about model, tools and run on standard error."""
    async for event in client.stream(request):
        match event.get("type"):
            case "token":
                sys.stdout.write(event["content"])
                sys.stdout.flush()
            case "tool_call":
                sys.stderr.write(f"→ {event['name']}({shortened(event['arguments'])})\n")
            case "tool_result":
                told = (event.get("error") or {}).get("detail") or event.get("result")
                sys.stderr.write(f"{'←' if event['status'] == 'completed' else '✗'} {shortened(told)}\n")
            case "error":
                told = event.get("error") or {}
                sys.stderr.write(f"\n{told.get('code', 'error')}: {told.get('detail', 'the answer failed')}\n")
                sys.stderr.write(f"run {event.get('run_id')}\n")
                return 1
            case "end":
                tools = ", ".join(call["name"] for call in event.get("tool_calls") or []) or "none"
                sys.stdout.write("\n")
                sys.stderr.write(
                    f"model {event['model']} ({event['route']}) · tools {tools} · "
                    f"conversation {event['conversation_id']} · run {event['run_id']}\n"
                )
                return 0
    sys.stderr.write("\nthe stream broke off\n")
    return 1


def shortened(value: object) -> str:
    """One line of it."""
    text = " ".join((value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)).split())
    return text if len(text) <= SHOWN_CHARS else f"{text[: SHOWN_CHARS - 1]}…"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./capibara6 chat", description="Ask the running stack one question.")
    parser.add_argument("question")
    parser.add_argument("--model", help="a model id (default: the router chooses)")
    parser.add_argument("--conversation", metavar="ID", help="go on with a conversation")
    parser.add_argument("--max-tokens", type=int)
    parser.add_argument(
        "--tools", metavar="NAME,…", help="tools that may be used, those that act included; `none` for none"
    )
    given = parser.parse_args(arguments)
    request: dict[str, object] = {"message": given.question}
    request |= {"model": given.model} if given.model else {}
    request |= {"conversation_id": given.conversation} if given.conversation else {}
    request |= {"max_tokens": given.max_tokens} if given.max_tokens else {}
    if given.tools:
        request["tools"] = False if given.tools == "none" else [name for name in given.tools.split(",") if name]
    try:
        settings = get_settings()
        key = None
        if keys_needed(settings, "chat-api"):
            key = load_secrets(settings).operator_key.get_secret_value()
        return asyncio.run(ask(ChatClient(load_topology(settings).url("chat-api"), key=key), request))
    except StackError as error:
        sys.stderr.write(f"{error}\n{error.mend}\n")
        return error.exit_code
    except ApiError as error:
        sys.stderr.write(f"{error.code}: {error.detail}\n")
        if error.code == "chat_api_unreachable":
            sys.stderr.write("is the stack up? ./capibara6 status\n")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
