"""`python -m models_node`: the model server on this node's port; with a word, what `./capibara6 WORD …` hands on."""

from __future__ import annotations

import sys
from importlib import import_module

# Modules with `main(arguments) -> exit status`.
WORDS = {"models": "models_node.commands", "routes": "models_node.routing.command"}


def main(arguments: list[str]) -> int:
    if arguments and arguments[0] not in WORDS:
        sys.stderr.write(f"python -m models_node: {arguments[0]!r} is not one of: {', '.join(WORDS)}\n")
        return 2
    if arguments:
        return int(import_module(WORDS[arguments[0]]).main(arguments[1:]))
    from models_node.server.app import SERVICE, create_app
    from wire.serve import serve

    return serve(create_app, service=SERVICE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
