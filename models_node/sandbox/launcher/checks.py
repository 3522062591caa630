"""What sandboxes need of this machine, tried rather than asked; each finding names its mend.

`python -m models_node.sandbox.launcher.checks` prints them as JSON: `./capibara6 doctor` shows them.
"""

from __future__ import annotations

import importlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from models_node.sandbox.launcher import cgroups
from models_node.sandbox.launcher.cgroups import Limits
from models_node.sandbox.launcher.errors import CgroupsMissing
from models_node.sandbox.launcher.view import bwrap_of

WITHOUT_LIMITS, ONE_UID = "without-limits", "one-uid"
TRY_SECONDS = 10.0
_TRIED_AS = 65_534  # nobody: any user without privileges tells whether user namespaces are open to one
_BUBBLEWRAP = "bubblewrap runs"
_TRIAL = Limits(64 * 2**20, 16, 1)


@dataclass(frozen=True, slots=True)
class Finding:
    """weakness: the word that accepts it (CAPIBARA6_SANDBOX_ACCEPT), where it can be done without."""

    what: str
    ok: bool
    mend: str = ""
    weakness: str = ""


@dataclass(frozen=True, slots=True)
class Machine:
    """What is tried, and on what. sysctl: reads a file of /proc/sys, '' where there is none."""

    bwrap: Path
    privileged: bool
    run: Callable[[list[str]], str | None]  # None: it worked; else its last words
    sysctl: Callable[[str], str]

    @classmethod
    def this(cls, environment: Path) -> Machine:
        return cls(bwrap_of(environment), os.geteuid() == 0, _try, _sysctl)


def examine(machine: Machine, cgroup: str) -> list[Finding]:
    """Every need, in the order they are met. cgroup: a name that may be made and removed for the trial."""
    return [_root(machine), _bubblewrap(machine), _libseccomp(), _user_namespaces(machine), _cgroups(cgroup)]


def can_confine(findings: list[Finding]) -> bool:
    """Whether bubblewrap makes a view here, of whatever else there is a lack."""
    return next(finding.ok for finding in findings if finding.what.startswith(_BUBBLEWRAP))


def missing(findings: list[Finding], accepted: frozenset[str]) -> Finding | None:
    """The first need that is neither met nor done without."""
    return next((f for f in findings if not f.ok and f.weakness not in accepted - {""}), None)


def _root(machine: Machine) -> Finding:
    mend = f"start this node as root, or accept one user for all of them: CAPIBARA6_SANDBOX_ACCEPT={ONE_UID}"
    return Finding(
        "a user of its own for each sandbox (needs a launcher that is root)", machine.privileged, mend, ONE_UID
    )


def _bubblewrap(machine: Machine) -> Finding:
    user = [] if machine.privileged else ["--unshare-user"]
    said = machine.run([str(machine.bwrap), *user, "--unshare-pid", "--ro-bind", "/", "/", "true"])
    if machine.privileged and said is None and shutil.which("setpriv") is None:
        return Finding("setpriv, to leave root behind", False, "install util-linux")
    mend = _namespace_mend(machine) if said and "space" in said else "./capibara6 up (it comes with the environment)"
    return Finding(f"{_BUBBLEWRAP}{f': {said}' if said else ''}", said is None, mend)


def _libseccomp() -> Finding:
    try:
        importlib.import_module("pyseccomp")
    except (ImportError, OSError, RuntimeError) as error:
        return Finding(f"libseccomp: {error}", False, "apt install libseccomp2 (or your distribution's libseccomp)")
    return Finding("libseccomp writes system call filters", True)


def _user_namespaces(machine: Machine) -> Finding:
    """Tried as the template will be: without privileges."""
    become = ["setpriv", f"--reuid={_TRIED_AS}", f"--regid={_TRIED_AS}", "--clear-groups"]
    said = machine.run(
        [*(become if machine.privileged else []), "unshare", "--user", "--net", "--pid", "--fork", "true"]
    )
    return Finding(
        f"user namespaces are open to a user without privileges{f': {said}' if said else ''}",
        said is None,
        _namespace_mend(machine),
    )


def _namespace_mend(machine: Machine) -> str:
    if machine.sysctl("kernel/apparmor_restrict_unprivileged_userns") == "1":
        return (
            "AppArmor keeps user namespaces to named programs (Ubuntu since 23.10): sysctl -w "
            "kernel.apparmor_restrict_unprivileged_userns=0, kept in /etc/sysctl.d/, or a profile with `userns,` for "
            "this environment's bwrap and python"
        )
    if machine.sysctl("kernel/unprivileged_userns_clone") == "0":
        return "sysctl -w kernel.unprivileged_userns_clone=1, kept in /etc/sysctl.d/"
    if machine.sysctl("user/max_user_namespaces") == "0":
        return "sysctl -w user.max_user_namespaces=10000, kept in /etc/sysctl.d/"
    return (
        "a container's own filter may forbid them: run this node on the host, or with --security-opt seccomp=unconfined"
    )


def _cgroups(name: str) -> Finding:
    try:
        cgroups.find(name, _TRIAL, enter=False).dissolve()
    except (CgroupsMissing, OSError) as error:
        mend = f"{cgroups.MEND}; or accept that one can use up this machine: CAPIBARA6_SANDBOX_ACCEPT={WITHOUT_LIMITS}"
        return Finding(f"limits of memory and processes (cgroups): {error}", False, mend, WITHOUT_LIMITS)
    return Finding("limits of memory and processes (cgroups)", True)


def _try(command: list[str]) -> str | None:
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TRY_SECONDS, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{command[0]}: {error}"
    if done.returncode == 0:
        return None
    return (done.stderr.strip().splitlines() or [f"{command[0]} ended with {done.returncode}"])[-1]


def _sysctl(name: str) -> str:
    try:
        return (Path("/proc/sys") / name).read_text(encoding="ascii").strip()
    except OSError:
        return ""


if __name__ == "__main__":
    print(  # noqa: T201 - what the command is for
        json.dumps([asdict(f) for f in examine(Machine.this(Path(sys.prefix)), f"capibara6-trial-{os.getpid()}")])
    )
