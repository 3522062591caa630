"""`python -m db prepare`."""

from __future__ import annotations

import argparse
import asyncio
import sys

from db.prepare import WAIT_SECONDS, prepare, prepare_n8n
from stack.errors import StackError
from stack.secrets import load_secrets
from stack.settings import get_settings


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m db")
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("prepare", help="create and migrate the databases")
    one.add_argument("of", nargs="?", choices=["n8n"], help="n8n: the database that n8n keeps its own tables in, alone")
    one.add_argument("--wait-seconds", type=float, default=WAIT_SECONDS)
    given = parser.parse_args(arguments)
    try:
        settings = get_settings()
        act = prepare_n8n if given.of else prepare
        asyncio.run(act(settings, load_secrets(settings), wait_seconds=given.wait_seconds))
    except StackError as error:
        sys.stderr.write(f"db: {error} ({error.mend})\n" if error.mend else f"db: {error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
