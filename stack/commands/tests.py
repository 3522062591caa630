"""test and bench: each part runs in the environment whose code it imports."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from stack.errors import ConfigurationError, InstallError
from stack.install.environments import environment_python, install, overlay_tests
from stack.install.report import elapsed, say
from stack.paths import n8n_tools_directory
from stack.settings import REPOSITORY, Settings, read_settings

TIERS = ("static", "unit", "integration", "e2e")
NODES = "n8n/nodes"
NOTHING_RAN = 5  # pytest: nothing of this part is in this run


@dataclass(frozen=True, slots=True)
class Part:
    """Some tests and the environment they run in.

    folders: the tests of these rooms need that environment. apart: what of them belongs to another part.
    """

    tier: str
    environment: str
    folders: tuple[str, ...]
    apart: tuple[str, ...] = ()


KYUTAI = "services_node/tts_server/engines/kyutai"
COQUI = "services_node/tts_server/engines/coqui"
PARTS = (
    Part("unit", "services", ("stack", "wire", "db", "flows", "services_node", "n8n")),
    Part("unit", "models", ("models_node", "bench"), apart=("models_node/sandbox",)),
    Part("unit", "sandbox", ("models_node/sandbox",)),
    Part("integration", "services", ("stack", "wire", "db", "flows", "services_node"), apart=(KYUTAI, COQUI)),
    Part("integration", "models", ("models_node",), apart=("models_node/sandbox",)),
    Part("integration", "sandbox", ("models_node/sandbox",)),
    Part("integration", "tts-kyutai", (KYUTAI,)),
    Part("integration", "tts-coqui", (COQUI,)),
    Part("e2e", "services", ("",)),
)

# What a benchmark needs beside the product: peers to measure against, ears.
BENCH_ENVIRONMENTS = {"proxy": ("bench",), "speech": ("bench-speech",), "workflows": ("n8n", "sandbox")}
BENCH_RUNS_IN = {
    "chat": "services",
    "sandbox": "sandbox",
    "speech": "services",
    "workflows": "services",
}  # others in `models`


# Of bench/: what imports the services node's packages.
OF_SERVICES = (
    "chat", "_chat_stack", "_chat_rows", "_tool_calls", "speech", "_espeak", "workflows", "_n8n_stack", "_callbacks",
    "_flow_starts", "_batch_items", "_beside",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Typed:
    """What is type-checked against one environment. apart: a pattern of files that belong to another."""

    environment: str
    packages: tuple[str, ...]
    modules: tuple[str, ...] = ()
    apart: str = ""


MYPY = (
    Typed(
        "services",
        ("stack", "wire", "db", "flows", "services_node", "n8n"),
        tuple(f"bench.{name}" for name in OF_SERVICES),
    ),
    Typed(
        "models",
        ("stack", "wire", "models_node", "bench"),
        apart=f"^(models_node/sandbox/|bench/(sandbox|{'|'.join(OF_SERVICES)})[.]py)",
    ),
    Typed("sandbox", ("models_node.sandbox",), ("bench.sandbox",)),
)


def test(given: argparse.Namespace) -> int:
    """Runs tiers in order and stops at the first that fails. Returns pytest's or the checker's exit status."""
    settings = read_settings()
    full = given.tier == "full"
    tiers = TIERS if given.tier is None or full else (given.tier,)
    if given.tier == "unit":
        tiers = ("unit",)
    environments = sorted({"models", "sandbox", "services"} | environments_of(tiers, given.paths))
    ours = nodes_are_meant(given.paths) and bool({"static", "unit"} & set(tiers))
    install(settings, ["dev", *(["n8n-dev"] if ours else []), *environments])
    for name in environments:
        overlay_tests(settings, name)
    began = time.monotonic()
    for tier in tiers:
        status = static(settings) if tier == "static" else _pytest(settings, tier, given.paths, full)
        if status != 0:
            say(f"tier {tier} failed after {elapsed(began)}")
            return status
    say(f"all passed: {', '.join(tiers)} in {elapsed(began)}")
    return 0


def environments_of(tiers: Sequence[str], paths: Sequence[str]) -> set[str]:
    """Those whose tests are in this run: what is optional for the product is made for its own tests alone."""
    return {part.environment for part in PARTS if part.tier in tiers and _chosen(part, paths)}


def static(settings: Settings) -> int:
    """ruff (lint and format), strict typing in each environment, the walls between rooms; n8n's linter."""
    tools = settings.home / "envs" / "dev" / "bin"
    commands = [
        [str(tools / "ruff"), "check", "."],
        [str(tools / "ruff"), "format", "--check", "."],
        [str(tools / "lint-imports"), "--no-cache"],
    ]
    for typed in MYPY:
        chosen = [argument for package in typed.packages for argument in ("-p", package)]
        chosen += [argument for module in typed.modules for argument in ("-m", module)]
        chosen += ["--exclude", typed.apart] if typed.apart else []
        cache = str(settings.home / "cache" / f"mypy-{typed.environment}")
        python = str(environment_python(settings, typed.environment))
        commands.append([str(tools / "mypy"), "--python-executable", python, "--cache-dir", cache, *chosen])
    commands.append(_of_nodes(settings, "check"))
    for command in commands:
        say(f"static: {Path(command[0]).name} {' '.join(command[1:])}")
        status = subprocess.run(command, check=False, cwd=REPOSITORY, env=_environment(settings)).returncode
        if status != 0:
            return status
    return 0


def bench(given: argparse.Namespace) -> int:
    """`bench NAME …` runs one benchmark with the rest of the words; `bench` alone lists them."""
    settings = read_settings()
    known = {path.stem: path for path in sorted((REPOSITORY / "bench").glob("[a-z]*.py"))}
    arguments: Sequence[str] = given.arguments
    if not arguments or arguments[0] in ("-h", "--help"):
        print("benchmarks:", ", ".join(known))
        return 0
    name, *rest = arguments
    if name not in known:
        raise ConfigurationError(f"no benchmark is called {name!r}", f"one of: {', '.join(known)}")
    results = settings.home / "bench"
    results.mkdir(parents=True, exist_ok=True)
    environment = BENCH_RUNS_IN.get(name, "models")
    install(settings, sorted({environment, "models", "services", *BENCH_ENVIRONMENTS.get(name, ())}))
    command = [
        str(environment_python(settings, environment)),
        "-m",
        f"bench.{name}",
        "--json",
        str(results / f"{name}.json"),
    ]
    return subprocess.run([*command, *rest], check=False, cwd=REPOSITORY, env=_environment(settings)).returncode


def _pytest(settings: Settings, tier: str, paths: Sequence[str], full: bool) -> int:
    runs = [
        _command(settings, part, chosen, full)
        for part in PARTS
        if part.tier == tier and (chosen := _chosen(part, paths))
    ]
    if tier == "unit" and nodes_are_meant(paths):
        runs.append(_of_nodes(settings, "test"))
    if not runs:
        raise ConfigurationError(f"no {tier} test is at {' '.join(paths)}", f"see tests/{tier}/")
    if tier == "unit" and len(runs) > 1:
        return _side_by_side(runs, _environment(settings))
    for command in runs:
        say(f"{tier}: {_shown(command)}")
        status = subprocess.run(command, check=False, cwd=REPOSITORY, env=_environment(settings)).returncode
        if status not in (0, NOTHING_RAN):
            return status
    return 0


def nodes_are_meant(paths: Sequence[str]) -> bool:
    """Whether our nodes for n8n, which are TypeScript and have tools of their own, are in this run."""
    return not paths or any(path.startswith(NODES) for path in paths)


def _of_nodes(settings: Settings, step: str) -> list[str]:
    python = str(environment_python(settings, "n8n-dev"))
    return [python, "-m", "n8n.development", step, str(n8n_tools_directory(settings))]


def _command(settings: Settings, part: Part, chosen: Sequence[str], full: bool) -> list[str]:
    python = str(environment_python(settings, part.environment))
    marks = [] if full else ["-m", "not full"]
    apart = [f"--ignore=tests/{part.tier}/{folder}" for folder in part.apart]
    return [python, "-m", "pytest", *marks, *apart, *chosen]


def _side_by_side(runs: Sequence[list[str]], environment: dict[str, str]) -> int:
    """Unit tests share nothing: their parts use the cores that there are. (Integration tests do not gain by it: two
    parts of them make two cores late.) Each one's output is shown when it is over; the status is that of the first that
    fails.
    """

    def run(command: list[str]) -> int:
        done = subprocess.run(
            command, check=False, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True,
        )  # fmt: skip
        with showing:
            say(f"unit: {_shown(command)}")
            sys.stdout.write(done.stdout)
            sys.stdout.flush()
        return done.returncode

    showing = threading.Lock()
    with ThreadPoolExecutor(len(runs)) as pool:
        statuses = list(pool.map(run, runs))
    return next((status for status in statuses if status not in (0, NOTHING_RAN)), 0)


def _shown(command: Sequence[str]) -> str:
    environment = Path(command[0]).parent.parent.name
    tested = [word for word in command if word.startswith("tests/")] or [NODES]
    return f"{' '.join(tested)} (environment {environment})"


def _chosen(part: Part, paths: Sequence[str]) -> list[str]:
    """The part's folders that exist, those of them that lie in `paths`, and those of `paths` that lie in them."""
    tests = REPOSITORY / "tests" / part.tier
    roots = [root for folder in part.folders if (root := tests / folder).exists()]
    if not paths:
        return [str(root.relative_to(REPOSITORY)) for root in roots]
    apart = [tests / folder for folder in part.apart]
    chosen = []
    for path in paths:
        asked = REPOSITORY / path.split("::")[0]
        if any(asked.is_relative_to(root) for root in roots):
            chosen += [] if any(asked.is_relative_to(folder) for folder in apart) else [path]
        else:
            chosen += [str(root.relative_to(REPOSITORY)) for root in roots if root.is_relative_to(asked)]
    return chosen


def _environment(settings: Settings) -> dict[str, str]:
    if not (REPOSITORY / "tests").is_dir():
        raise InstallError("this copy has no tests/ folder", "clone the repository")
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "CAPIBARA6_HOME": str(settings.home),
            "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"}  # fmt: skip
