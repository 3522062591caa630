"""Puts n8n together, once: `python -m n8n.installation FOLDER`.

FOLDER/runtime is npm's work, from the lock; FOLDER/nodes/n8n-nodes-capibara6 is our own package, compiled. Each part is
made again only when what it is made from has changed, so that a change of our nodes does not cost an installation.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from n8n.errors import InstallationFailed, N8nError
from n8n.node import NODE, NPM

HERE = Path(__file__).resolve().parent
RUNTIME = HERE / "runtime"
PACKAGE = HERE / "nodes" / "n8n-nodes-capibara6"
MADE = ".made-from"
OFFERED = "nodes-offered"  # a file: what the nodes were made from that a running n8n has loaded
# Install scripts fetch from elsewhere and build what Postgres makes unneeded; optional packages are other platforms'.
CI = ("ci", "--ignore-scripts", "--omit=optional", "--prefer-offline", "--no-audit", "--no-fund", "--loglevel=error")
SOURCES = (".ts", ".json", ".svg", ".png")
# What only debuggers, compilers and readers want: two fifths of the disk. Our nodes are compiled with n8n's types.
UNREAD = (".map", ".d.ts", ".d.mts", ".d.cts", ".md", ".markdown", ".flow", ".tsbuildinfo")
LEGAL = ("LICEN", "COPYING", "NOTICE")
TYPES_KEPT = ("n8n-workflow", "@types", "undici-types", "typescript")


def main() -> int:
    if len(sys.argv) != 2:
        sys.stderr.write("usage: python -m n8n.installation FOLDER\n")
        return 2
    folder = Path(sys.argv[1])
    try:
        install(folder / "runtime")
        build(PACKAGE, folder / "nodes" / PACKAGE.name, folder / "runtime" / "node_modules")
    except N8nError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def install(runtime: Path) -> None:
    """n8n's packages. What an interrupted installation left is taken for nothing."""
    sources = sorted(path for path in RUNTIME.rglob("*") if path.is_file())
    wanted = digest(RUNTIME, sources)
    if made_from(runtime) == wanted:
        return
    (runtime / MADE).unlink(missing_ok=True)
    for path in sources:
        target = runtime / path.relative_to(RUNTIME)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    run([*NPM, *CI], runtime, "npm could not install n8n")
    modules = runtime / "node_modules"
    say(f"{trim(modules) / 2**20:.0f} MiB of sources' maps, types and readmes removed")
    (runtime / MADE).write_text(wanted, encoding="ascii")


def build(package: Path, target: Path, modules: Path) -> None:
    """Our own nodes, compiled by the runtime's TypeScript against the runtime's types."""
    if not (package / "package.json").exists():
        return
    sources = sources_of(package)
    wanted = digest(package, sources)
    if made_from(target) == wanted:
        return
    shutil.rmtree(target, ignore_errors=True)
    work = target.with_name(f".{target.name}")
    shutil.rmtree(work, ignore_errors=True)
    for path in sources:
        copy = work / path.relative_to(package)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    (work / "node_modules").symlink_to(modules)
    command = [str(NODE), str(modules / "typescript" / "bin" / "tsc"), "-p", "tsconfig.json", "--incremental", "false"]
    run(command, work, "our nodes for n8n could not be compiled")
    for path in assets_of(work):
        copy = work / "dist" / path.relative_to(work)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
    target.mkdir(parents=True)
    shutil.copyfile(work / "package.json", target / "package.json")
    shutil.move(work / "dist", target / "dist")
    shutil.rmtree(work)
    (target / MADE).write_text(wanted, encoding="ascii")


def sources_of(package: Path) -> list[Path]:
    """What a package is built from: nothing that a build or npm made, no tests."""
    made = ("node_modules", "dist", "test", "tests")
    return sorted(
        path
        for path in package.rglob("*")
        if path.is_file() and path.suffix in SOURCES and path.relative_to(package).parts[0] not in made
    )


def assets_of(package: Path) -> list[Path]:
    """What a compiler does not carry over: icons, and the descriptions beside nodes."""
    folders = [package / name for name in ("nodes", "credentials", "icons")]
    found = (path for folder in folders for path in folder.rglob("*") if path.suffix in (".svg", ".png", ".json"))
    return sorted(found)


def trim(modules: Path) -> int:
    """Removes what nothing reads at run time. Returns the bytes that were freed."""
    freed = 0
    for parent, folders, files in os.walk(modules):
        here = Path(parent)
        if here == modules or here.name.startswith("@"):
            folders[:] = [name for name in folders if name not in TYPES_KEPT]
        for name in files:
            if name.endswith(UNREAD) and not name.upper().startswith(LEGAL):
                path = here / name
                if not path.is_symlink():
                    freed += path.stat().st_size
                path.unlink()
    return freed


def digest(root: Path, files: Iterable[Path]) -> str:
    """One name for the contents of these files."""
    total = hashlib.sha256()
    for path in files:
        total.update(f"{path.relative_to(root)}\0".encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def made_from(folder: Path) -> str | None:
    try:
        return (folder / MADE).read_text(encoding="ascii")
    except OSError:
        return None


def run(command: list[str], folder: Path, failed: str) -> None:
    """Raises InstallationFailed with the command's last words; all of them are on this process's output."""
    environment = os.environ | {"PATH": f"{NODE.parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    environment |= {"NO_UPDATE_NOTIFIER": "1", "npm_config_update_notifier": "false"}
    done = subprocess.run(
        command, cwd=folder, env=environment, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    say(done.stdout.strip())
    if done.returncode != 0:
        lines = [line for line in done.stdout.splitlines() if line.strip()]
        raise InstallationFailed(f"{failed}: {lines[-1].strip() if lines else 'without a word'}")


def say(words: str) -> None:
    if words:
        sys.stdout.write(f"{words}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
