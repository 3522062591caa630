"""`./capibara6 code run FILE`: runs a file's code in a sandbox of the running stack, shows what it says and makes."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from stack.errors import StackError
from stack.secrets import load_secrets
from stack.settings import get_settings
from stack.topology import keys_needed, load_topology
from wire.clients.code import CodeClient
from wire.errors import ApiError

LANGUAGES = {".py": "python", ".sh": "bash", ".js": "javascript", ".mjs": "javascript", ".ts": "typescript"}
CODE_FAILED = 1  # the code ended with an error of its own
FAILED = 6  # the stack could not run it, as a service that does not come (stack.errors)


@dataclass(frozen=True, slots=True)
class Asked:
    """output: where files that the code made are written; None: they are only named. as_json: one object at the end."""

    request: dict[str, Any]
    uploads: tuple[Path, ...]
    output: Path | None
    as_json: bool


async def run(client: CodeClient, asked: Asked) -> int:
    files = [{"name": path.name, "file_id": await client.upload(path, path.name)} for path in asked.uploads]
    last: dict[str, Any] = {}
    async for event in client.stream({**asked.request, "files": files}):
        if not asked.as_json:
            _show(event)
        last = event
    if last.get("type") == "error":
        told = last.get("error") or {}
        sys.stderr.write(f"{told.get('code', 'error')}: {told.get('detail', 'the run failed')}\n")
        sys.stderr.write(f"run {last.get('run_id')}\n")
        return FAILED
    if last.get("type") != "end":
        sys.stderr.write("the stream broke off\n")
        return FAILED
    written = {file["name"]: await _written(client, file, asked.output) for file in last["files"]}
    if asked.as_json:
        sys.stdout.write(json.dumps({**last, "written": written}, ensure_ascii=False) + "\n")
    else:
        for name, where in written.items():
            sys.stderr.write(f"file {name}: {where}\n")
        for left in last["files_left_out"]:
            sys.stderr.write(f"file {left['name']} was not kept: {left['why']}\n")
        sys.stderr.write(f"{last['duration_ms']:.0f} ms · sandbox {last['sandbox_id']} · run {last['run_id']}\n")
    return CODE_FAILED if last.get("error") else 0


def _show(event: dict[str, Any]) -> None:
    match event.get("type"):
        case "stdout":
            sys.stdout.write(event["content"])
            sys.stdout.flush()
        case "stderr":
            sys.stderr.write(event["content"])
        case "result" if event["content"]:
            sys.stdout.write(f"{event['content']}\n")
        case "error" if not event["done"]:
            error = event["error"]
            sys.stderr.write(f"{error['traceback'] or error['name'] + ': ' + error['value']}\n")
        case "start" if event.get("notice"):
            sys.stderr.write(f"{event['notice']}\n")


async def _written(client: CodeClient, file: dict[str, Any], output: Path | None) -> str:
    """Where a file's bytes are now. Its name comes from a sandbox: nothing is written outside of `output`."""
    if output is None:
        return client.base_url + str(file["url"])
    parts = [part for part in PurePosixPath(file["name"]).parts if part not in {"/", ".", ".."}]
    target = output.joinpath(*parts)
    await client.download(file["url"], target)
    return str(target)


def _asked(arguments: list[str] | None) -> Asked:
    parser = argparse.ArgumentParser(prog="./capibara6 code", description="Run code in a sandbox of the running stack.")
    run_parser = parser.add_subparsers(required=True, metavar="COMMAND").add_parser("run", help="run a file's code")
    run_parser.add_argument("source", metavar="FILE", help="the code; `-` reads it from standard input")
    run_parser.add_argument("--language", help="python, bash, javascript, typescript (default: by the file's ending)")
    run_parser.add_argument("--file", action="append", default=[], metavar="PATH", help="a file to send along")
    run_parser.add_argument("--timeout", type=float, metavar="SECONDS", help="what the code may take")
    run_parser.add_argument("--conversation", metavar="ID", help="run in this conversation's own sandbox")
    run_parser.add_argument("--output", metavar="DIR", help="write the files that the code made here")
    run_parser.add_argument("--json", action="store_true", help="one JSON object at the end, for programs")
    given = parser.parse_args(arguments)
    code = sys.stdin.read() if given.source == "-" else Path(given.source).read_text(encoding="utf-8")
    language = given.language or LANGUAGES.get(Path(given.source).suffix, "python")
    request: dict[str, Any] = {"code": code, "language": language}
    request |= {"timeout_seconds": given.timeout} if given.timeout else {}
    request |= {"conversation_id": given.conversation} if given.conversation else {}
    uploads = tuple(Path(path) for path in given.file)
    return Asked(request, uploads, Path(given.output) if given.output else None, given.json)


def main(arguments: list[str] | None = None) -> int:
    try:
        asked = _asked(arguments)
        settings = get_settings()
        key = None
        if keys_needed(settings, "chat-api"):
            key = load_secrets(settings).operator_key.get_secret_value()
        return asyncio.run(run(CodeClient(load_topology(settings).url("chat-api"), key=key), asked))
    except StackError as error:
        sys.stderr.write(f"{error}\n{error.mend}\n")
        return error.exit_code
    except (OSError, UnicodeDecodeError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except ApiError as error:
        sys.stderr.write(f"{error.code}: {error.detail}\n")
        if error.code == "chat_api_unreachable":
            sys.stderr.write("is the stack up? ./capibara6 status\n")
        return 2 if error.status in {400, 404, 413, 422} else FAILED
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
