"""The large environments, made with uv from exact locks, and what must exist besides: torch."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from stack.errors import InstallError
from stack.install.bootstrap import explain, install_lock
from stack.install.fingerprint import MARKER, fingerprint, is_complete, mark_complete
from stack.install.prepared import is_prepared, prepare
from stack.install.report import long_step, say
from stack.install.running import installers, log_of, logged
from stack.interruption import result_of
from stack.settings import REPOSITORY, Settings

EnvironmentName = Literal[
    "models", "sandbox", "services", "n8n", "dev", "n8n-dev", "bench", "bench-speech", "tts-kyutai", "tts-coqui"
]

TORCH = "torch==2.13.0"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
WITH_TORCH = ("models", "tts-kyutai", "tts-coqui")
SPEECH_ENGINES = {"kyutai": "tts-kyutai", "coqui": "tts-coqui"}  # the optional ones, and the environment of each
# What starts many processes at once, or processes that may write no bytecode of their own (sandboxes, speech engines).
COMPILED = ("services", "sandbox", *SPEECH_ENGINES.values())
SAME_LOCK = {"n8n-dev": "n8n"}
TESTS_ONLY = ("hypothesis", "sortedcontainers", "pytest", "pluggy", "iniconfig", "pytest-asyncio", "pytest-timeout")
CLIENTS_ONLY = ("openai", "jiter", "sniffio")  # OpenAI's SDK, for the tests of the services node's door


@dataclass(frozen=True, slots=True)
class Environment:
    """One environment: what its lock holds, in words, and the disk it takes once made."""

    name: EnvironmentName
    holds: str
    disk_bytes: int


ENVIRONMENTS: dict[str, Environment] = {
    "models": Environment("models", "torch, vLLM, sentence-transformers", 4 * 2**30),
    "sandbox": Environment("sandbox", "bubblewrap, IPython, pandas, matplotlib, Deno", 800 * 2**20),
    "services": Environment("services", "FastAPI, Prefect, SQLAlchemy, Postgres, speech", 1300 * 2**20),
    "n8n": Environment("n8n", "Node; n8n itself comes after it", 2600 * 2**20),
    "dev": Environment("dev", "ruff, mypy, import-linter", 350 * 2**20),
    "n8n-dev": Environment("n8n-dev", "Node; what our nodes for n8n are checked with comes after it", 1000 * 2**20),
    "bench": Environment("bench", "LiteLLM's proxy, to be measured against", 700 * 2**20),
    "bench-speech": Environment("bench-speech", "a speech recogniser, to listen with", 700 * 2**20),
    "tts-kyutai": Environment("tts-kyutai", "torch, Kyutai's Pocket TTS", 1000 * 2**20),
    "tts-coqui": Environment("tts-coqui", "torch, Coqui TTS", 2000 * 2**20),
}


def environment_path(settings: Settings, name: str) -> Path:
    return settings.home / "envs" / name


def environment_python(settings: Settings, name: str) -> Path:
    return environment_path(settings, name) / "bin" / "python"


def lock_of(settings: Settings, name: str) -> Path:
    variant = "models-gpu" if name == "models" and settings.gpu else SAME_LOCK.get(name, name)
    return REPOSITORY / "requirements" / f"{variant}.lock"


def is_complete_environment(settings: Settings, name: str) -> bool:
    return is_complete(settings.home / "envs" / name, fingerprint(lock_of(settings, name)))


def is_installed(settings: Settings, name: str) -> bool:
    return is_complete_environment(settings, name) and is_prepared(settings, name, lock_of(settings, name))


def install(settings: Settings, names: Sequence[str]) -> None:
    """Makes what is missing of these environments, in parallel. Raises InstallError naming the step and the mend."""
    missing = [name for name in names if not is_installed(settings, name)]
    if not missing:
        return
    needed = sum(ENVIRONMENTS[name].disk_bytes for name in missing)
    free = shutil.disk_usage(settings.home).free
    if free < needed:
        raise InstallError(
            f"no disk space: {settings.home} has {free / 2**30:.1f} GiB free, {needed / 2**30:.1f} are needed",
            "free some, or put everything elsewhere: CAPIBARA6_HOME=/path",
        )
    say(f"Capibara6: installing {', '.join(missing)} under {settings.home} (once; it can be interrupted and goes on)")
    with install_lock(settings.home), ThreadPoolExecutor(len(missing)) as pool:
        try:
            for finished in [pool.submit(_install_one, settings, ENVIRONMENTS[name]) for name in missing]:
                result_of(finished)
        except BaseException:
            installers.stop()  # one failed, or the user has had enough: the others don't go on unseen
            raise


def overlay_tests(settings: Settings, name: str) -> None:
    """Lays pytest over an environment: exact versions from the dev lock, nothing of the product changes."""
    directory = settings.home / "envs" / name
    lock = lock_of(settings, "dev")
    wanted = fingerprint(lock, lock_of(settings, name))
    marker = directory / "tests-overlay"
    if is_complete(marker, wanted):
        return
    marker.mkdir(exist_ok=True)
    chosen = marker / "requirements.txt"
    packages = (*TESTS_ONLY, *CLIENTS_ONLY) if name == "services" else TESTS_ONLY
    chosen.write_text(_blocks_of(lock, packages), encoding="utf-8")
    with long_step(f"pytest in environment {name}"):
        _uv(settings, name, "pip", "install", "--no-deps", "--no-build", "--require-hashes", "-r", str(chosen))
    mark_complete(marker, wanted)


def _blocks_of(lock: Path, packages: Sequence[str]) -> str:
    """The entries of a lock that pin these packages, hashes included."""
    chosen: list[str] = []
    keep = False
    for line in lock.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith((" ", "#")):
            keep = line.split("==")[0] in packages
        if keep:
            chosen.append(line)
    return "\n".join(chosen) + "\n"


def _install_one(settings: Settings, environment: Environment) -> None:
    name = environment.name
    directory = settings.home / "envs" / name
    lock = lock_of(settings, name)
    wanted = fingerprint(lock)
    if not is_complete(directory, wanted):
        count = sum(1 for line in lock.read_text(encoding="utf-8").splitlines() if line[:1].isalnum())
        what = f"environment {name}: {count} packages ({environment.holds})"
        if (directory / MARKER).exists():  # made whole from another lock: laying a new one over it would leave the old
            shutil.rmtree(directory)
        with long_step(what, lambda: f"{_unpacked_mib(directory)} MiB unpacked"):
            if not (directory / "bin" / "python").exists():
                _uv(settings, name, "venv", "--allow-existing", "--python", sys.executable, str(directory))
            if name in WITH_TORCH and not (name == "models" and settings.gpu):
                _install_cpu_torch(settings, name)
            options = _uv_index_options()
            if name in COMPILED:
                options.append("--compile-bytecode")
            exact = ("--no-deps", "--no-build", "--require-hashes", "-r", str(lock))
            _uv(settings, name, "pip", "install", *options, *exact)
            if name == "tts-coqui":
                _make_torchaudio_loadable(settings, name)
        mark_complete(directory, wanted)
    prepare(settings, name, environment_python(settings, name), lock)


def _install_cpu_torch(settings: Settings, name: str) -> None:
    """CPU torch from where pip is told to find it (find-links), else from PyTorch's CPU index.

    Never from the plain index: there the same version is a CUDA build of several gigabytes.
    """
    python = environment_python(settings, name)
    if _is_cpu_torch(settings, name):
        return
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--disable-pip-version-check", "--no-deps"]
    found = logged(settings, name, [*pip, "--no-index", TORCH])
    if found != 0 and logged(settings, name, [*pip, "--index-url", TORCH_CPU_INDEX, TORCH]) != 0:
        log = log_of(settings, name)
        raise InstallError(
            f"CPU {TORCH} was found neither in pip's find-links nor at {TORCH_CPU_INDEX}: {explain(log)}",
            f"connect to that index, or put the wheel in a folder and set PIP_FIND_LINKS to it (log: {log})",
        )


def _is_cpu_torch(settings: Settings, name: str) -> bool:
    directory = settings.home / "envs" / name / "lib"
    return any(directory.glob(f"python3*/site-packages/{TORCH.replace('==', '-')}+cpu.dist-info/RECORD"))


def _make_torchaudio_loadable(settings: Settings, name: str) -> None:
    """Takes the CUDA libraries out of PyPI's torchaudio: beside CPU torch they end its import, and so Coqui's.

    What is left is torchaudio in Python (resampling, spectrograms), all that the engine uses. Done again, it is no
    error. Raises InstallError when torchaudio can't be imported after it.
    """
    for libraries in environment_path(settings, name).glob("lib/python3*/site-packages/torchaudio/lib"):
        shutil.rmtree(libraries)
    if logged(settings, name, [str(environment_python(settings, name)), "-c", "import torchaudio"]) != 0:
        log = log_of(settings, name)
        raise InstallError(f"environment {name}: torchaudio can't be imported: {explain(log)}", f"all of it: {log}")


def _unpacked_mib(directory: Path) -> int:
    total = 0
    for root, _, files in os.walk(directory):
        for file in files:
            try:
                total += (Path(root) / file).lstat().st_size
            except OSError:
                continue  # moved while we looked
    return total >> 20


def _uv_index_options() -> list[str]:
    """A mirror named for pip serves uv as well."""
    mirror = os.environ.get("PIP_INDEX_URL")
    return ["--default-index", mirror] if mirror and "UV_DEFAULT_INDEX" not in os.environ else []


def _uv(settings: Settings, name: str, *arguments: str) -> None:
    python = environment_python(settings, name)
    target = ["--python", str(python)] if arguments[0] == "pip" else []
    uv = str(Path(sys.executable).with_name("uv"))
    if logged(settings, name, [uv, "--no-config", *arguments, *target]) != 0:
        log = log_of(settings, name)
        raise InstallError(
            f"environment {name}: {explain(log)}", f"all of it: {log}; run the same command again to go on"
        )
