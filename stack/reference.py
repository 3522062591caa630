"""The pages of docs/ that are made from code: settings and commands. `python -m stack.reference` writes them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from stack.commands import parser
from stack.settings import REPOSITORY, Settings

NOTE = "<!-- Made by `python -m stack.reference`; a test keeps it in step. -->\n"


EXIT_STATUSES = """## chat, code, say, models, routes, bench

`./capibara6 chat --help`, `./capibara6 code run --help`, `./capibara6 say --help`, `./capibara6 models plan --help`,
`./capibara6 models fetch --help`, `./capibara6 routes --help` and `./capibara6 bench NAME --help` tell their own
options.

## Exit statuses

0 done · 1 failed, or not everything is ready · 2 a setting or argument is wrong · 3 wrong node or forbidden address ·
4 installation failed · 5 a port is taken · 6 a service did not become ready · 130 interrupted
"""


def settings_page() -> str:
    rows = ["| variable | default | what it is |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "`var/`" if name == "home" else "" if field.default is None else f"`{field.default}`"
        rows.append(f"| `CAPIBARA6_{name.upper()}` | {default} | {field.description} |")
    return (
        f"# Settings\n\n{NOTE}\n"
        "Environment variables go before the same names in `var/settings.env`. A wrong value stops every command\n"
        "with a line that names its variable. Sizes are bytes, times seconds.\n\n" + "\n".join(rows) + "\n"
    )


def commands_page() -> str:
    os.environ["COLUMNS"] = "100"  # argparse folds its help to the terminal
    top = parser()
    [commands] = [action for action in top._actions if isinstance(action, argparse._SubParsersAction)]
    parts = [f"# Commands\n\n{NOTE}\n```\n{top.format_help()}```\n"]
    parts += [
        f"## {name}\n\n```\n{command.format_help()}```\n"
        for name, command in commands.choices.items()
        if name not in ("chat", "say", "models", "routes", "bench")
    ]
    parts.append(EXIT_STATUSES)
    return "\n".join(parts)


PAGES = {"settings.md": settings_page, "commands.md": commands_page}


def write(folder: Path = REPOSITORY / "docs") -> None:
    for name, make in PAGES.items():
        (folder / name).write_text(make(), encoding="utf-8")


if __name__ == "__main__":
    write()
