"""The command line: one small file a group of commands. Exit statuses are interfaces (see `stack.errors`)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from stack.commands import installing, lifecycle, product, tests
from stack.errors import StackError
from stack.topology import NODES

INTERRUPTED = 130


def parser() -> argparse.ArgumentParser:
    """The whole command line; its help is what docs/commands.md shows."""
    top = argparse.ArgumentParser(
        prog="./capibara6",
        description="A self-hosted AI automation stack: models, chat, tools, code, speech, workflows.",
    )
    commands = top.add_subparsers(title="commands", required=True, metavar="COMMAND")

    up = commands.add_parser("up", help="install what is missing, start everything, wait until it is ready")
    up.add_argument("--node", choices=NODES, help="start this node's services only (default: all, on this machine)")
    up.add_argument("--detach", action="store_true", help="return when everything is ready, instead of staying")
    up.add_argument(
        "--without", metavar="NAME,…", help="services to leave out, from now on ('': none); n8n is the largest"
    )
    up.add_argument("--gpu", action="store_true", help="make the models environment for an NVIDIA GPU")
    up.set_defaults(run=lifecycle.up)

    only = commands.add_parser("install", help="install what `up` would, and optional engines of speech; start nothing")
    only.add_argument("--tts", default="", metavar="ENGINE,…", help="optional engines of speech: kyutai, coqui")
    only.add_argument("--node", choices=NODES, help="for this node's services only (default: all)")
    only.add_argument("--gpu", action="store_true", help="make the models environment for an NVIDIA GPU")
    only.set_defaults(run=installing.install_only)

    down = commands.add_parser("down", help="stop everything; nothing is left running")
    down.set_defaults(run=lifecycle.down)

    restart = commands.add_parser("restart", help="restart one service, or all")
    restart.add_argument("service", nargs="?", metavar="SERVICE")
    restart.set_defaults(run=lifecycle.restart)

    status = commands.add_parser("status", help="what runs, and whether it is ready")
    status.add_argument("--json", action="store_true", help="for programs")
    status.set_defaults(run=lifecycle.status)

    logs = commands.add_parser("logs", help="what services write")
    logs.add_argument("service", nargs="?", metavar="SERVICE")
    logs.add_argument("-f", "--follow", action="store_true", help="go on as lines come")
    logs.add_argument("-n", "--lines", type=int, default=100, metavar="N", help="how many to begin with (100)")
    logs.set_defaults(run=lifecycle.logs)

    env = commands.add_parser("env", help="addresses, keys and database URLs, as NAME=value lines")
    env.set_defaults(run=product.env)

    chat = commands.add_parser("chat", help="ask the running stack one question", add_help=False)
    chat.add_argument("arguments", nargs=argparse.REMAINDER)
    chat.set_defaults(run=product.chat)

    code = commands.add_parser("code", help="run code in a sandbox of the running stack", add_help=False)
    code.add_argument("arguments", nargs=argparse.REMAINDER)
    code.set_defaults(run=product.code)

    run = commands.add_parser("run", help="show a run as a tree with timings", add_help=False)
    run.add_argument("arguments", nargs=argparse.REMAINDER)
    run.set_defaults(run=product.run)

    say = commands.add_parser("say", help="speak a text: play it, or write it to a file", add_help=False)
    say.add_argument("arguments", nargs=argparse.REMAINDER)
    say.set_defaults(run=product.say)

    models = commands.add_parser("models", help="plan what fits in memory, fetch weights", add_help=False)
    models.add_argument("arguments", nargs=argparse.REMAINDER)
    models.set_defaults(run=product.models)

    routes = commands.add_parser("routes", help="teach, judge and explain the choice of models", add_help=False)
    routes.add_argument("arguments", nargs=argparse.REMAINDER)
    routes.set_defaults(run=product.routes)

    test = commands.add_parser("test", help="run the tests: unit, integration and the end-to-end smoke")
    test.add_argument("tier", nargs="?", choices=["unit", "integration", "e2e", "full", "static"], help="one tier only")
    test.add_argument("paths", nargs="*", metavar="PATHS", help="parts of the tier")
    test.set_defaults(run=tests.test)

    bench = commands.add_parser("bench", help="measure; prints one JSON object a benchmark", add_help=False)
    bench.add_argument("arguments", nargs=argparse.REMAINDER)
    bench.set_defaults(run=tests.bench)

    doctor = commands.add_parser("doctor", help="check this machine, and say how to mend what is wrong")
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.set_defaults(run=product.doctor)
    return top


def _parsed(arguments: list[str]) -> argparse.Namespace:
    """`chat`, `code`, `run`, `say`, `models`, `routes`, `bench` hand on what follows them; argparse takes the rest."""
    handed_on = {
        "chat": product.chat,
        "code": product.code,
        "run": product.run,
        "say": product.say,
        "models": product.models,
        "routes": product.routes,
        "bench": tests.bench,
    }
    if arguments and arguments[0] in handed_on:
        return argparse.Namespace(run=handed_on[arguments[0]], arguments=arguments[1:])
    return parser().parse_args(arguments)


def main(arguments: Sequence[str]) -> int:
    """Runs one command. Returns the process's exit status."""
    try:
        given = _parsed(list(arguments))
        return int(given.run(given))
    except StackError as error:
        sys.stderr.write(f"capibara6: {error}\n")
        if error.mend:
            sys.stderr.write(f"  mend: {error.mend}\n")
        return error.exit_code
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        sys.stderr.write(f"capibara6:{where} {error.strerror or error}\n")
        return 1
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return INTERRUPTED
