"""What hostile code reaches for: the kernel, the host, other sandboxes, the network."""

from __future__ import annotations

import fcntl
import io
import sys
import tarfile
from pathlib import Path

import pytest
from e2b import NotFoundException, SandboxException
from e2b_code_interpreter import Sandbox

from tests.integration.models_node.sandbox.whole.conftest import Node

PROBE = """
import ctypes, errno, socket
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    return 'allowed' if libc.syscall(number, *arguments) >= 0 else errno.errorcode[ctypes.get_errno()]
def opened(path):
    try: open(path, 'rb').read(10); return 'allowed'
    except OSError as error: return errno.errorcode[error.errno]
def made(*arguments):
    try: socket.socket(*arguments); return 'allowed'
    except OSError as error: return errno.errorcode[error.errno]
"""


def probe(sandbox: Sandbox, expression: str) -> str:
    return "".join(sandbox.run_code(PROBE + f"print({expression})").logs.stdout).strip()


def test_the_kernels_dangerous_doors_are_shut(sandbox: Sandbox) -> None:
    import platform

    if platform.machine() != "x86_64":
        pytest.skip("numbers of x86-64; the filter itself is tested for both architectures")
    doors = {"ptrace": 101, "mount": 165, "unshare": 272, "bpf": 321, "io_uring_setup": 425, "userfaultfd": 323,
             "perf_event_open": 298, "setns": 308, "pidfd_getfd": 438, "process_vm_writev": 311}  # fmt: skip
    for name, number in doors.items():
        assert probe(sandbox, f"call({number}, 0, 0, 0, 0, 0)") == "EPERM", name


def test_sockets_beyond_its_own_network_cannot_be_made(sandbox: Sandbox) -> None:
    for family, kind, protocol in ((40, 1, 0), (38, 5, 0), (17, 3, 0), (16, 3, 9), (16, 3, 15), (2, 3, 255)):
        assert probe(sandbox, f"made({family}, {kind}, {protocol})") in ("ENOSYS", "EPERM"), family
    assert probe(sandbox, "made(16, 3, 0)") == "allowed", "routes may be asked for: ZeroMQ does"


def test_nothing_of_the_host_can_be_read(node: Node, sandbox: Sandbox) -> None:
    for path in (
        "/etc/shadow", str(node.home / "secrets.json"), "/root/.bashrc", "/run/capibara6/secrets.json", "/dev/kvm",
        "/dev/mem", "/dev/vda", "/proc/kcore", "/proc/1/environ", "/proc/1/mem", "/proc/sysrq-trigger", "/var/log",
    ):  # fmt: skip
        assert probe(sandbox, f"opened({path!r})") in ("ENOENT", "EACCES", "EPERM", "EISDIR"), path
    environment = sandbox.commands.run("env; cat /proc/self/environ /proc/1/cmdline").stdout
    assert "CAPIBARA6_HOME" not in environment
    assert "KEY" not in environment.upper().replace("KEYBOARD", "")


def test_the_view_holds_no_capability_and_nothing_of_the_system_can_be_written(sandbox: Sandbox) -> None:
    status = sandbox.commands.run("cat /proc/self/status").stdout
    assert "CapEff:\t0000000000000000" in status
    assert "CapBnd:\t0000000000000000" in status
    assert "NoNewPrivs:\t1" in status
    assert "Seccomp:\t2" in status
    told = sandbox.commands.run(
        "for f in /x /usr/x /etc/x /opt/capibara6/env/x /proc/sys/kernel/core_pattern /dev/x; do "
        "(echo x > $f) 2>/dev/null && echo wrote $f; done; true"
    ).stdout
    assert told == ""


def test_one_sandbox_sees_nothing_of_another(node: Node, sandbox: Sandbox) -> None:
    other = node.create(timeout=60)
    try:
        other.files.write("/tmp/secret", "s3cret")
        other.files.write("secret", "s3cret")
        other.commands.run("sleep 50", background=True)
        seen = sandbox.commands.run("ls -a /tmp /home/user /dev/shm; ps aux; cat /proc/net/unix").stdout
        assert "secret" not in seen
        assert "sleep 50" not in seen
        mine = sandbox.commands.run("cat /proc/self/uid_map").stdout.split()[1]
        assert other.commands.run("cat /proc/self/uid_map").stdout.split()[1] != mine
    finally:
        other.kill()


def test_links_and_dots_lead_nowhere_outside_in_either_direction(sandbox: Sandbox) -> None:
    sandbox.commands.run("ln -s /etc etc; ln -s /etc/passwd upload; ln -s /proc/1/root root; ln -s / slash")
    inside = sandbox.files.read("etc/passwd")
    assert "user:x:1000" in inside
    assert "root:x:0:0:root:/nonexistent" in inside, "the sandbox's own, not the host's"
    for path in ("etc/evil", "root/etc/evil", "../../etc/evil", "slash/evil", "/proc/1/root/tmp2/evil"):
        with pytest.raises(SandboxException):
            sandbox.files.write(path, "x")
    with pytest.raises((SandboxException, NotFoundException)):
        sandbox.files.read("root/etc/shadow")


def test_a_hostile_archive_unpacks_inside(sandbox: Sandbox) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("../../../../etc/evil")
        entry.size = 1
        archive.addfile(entry, io.BytesIO(b"x"))
    sandbox.files.write("evil.tar", packed.getvalue())
    with pytest.raises(SandboxException):
        sandbox.commands.run("tar -P -xf evil.tar")


@pytest.mark.parametrize("host", ["169.254.169.254", "127.0.0.1", "10.0.0.1"])
def test_there_is_no_network_but_its_own(node: Node, sandbox: Sandbox, host: str) -> None:
    port = 8086 + node.offset if host == "127.0.0.1" else 80
    told = probe(sandbox, f"socket.create_connection(({host!r}, {port}), 2)")
    assert told == ""
    assert sandbox.run_code(f"import socket; socket.create_connection(({host!r}, {port}), 2)").error is not None


def test_nothing_of_the_host_can_be_locked_or_flushed(node: Node, sandbox: Sandbox) -> None:
    code = """
import fcntl, os
try:
    fcntl.flock(os.open('/opt/capibara6/env/.lock', os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB); print('locked')
except OSError as error: print(type(error).__name__)
os.sync(); print('synced')
"""
    assert sandbox.run_code(code).error is None
    lock = Path(sys.prefix) / ".lock"
    if lock.exists():
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_no_foreign_descriptor_reaches_user_code(sandbox: Sandbox) -> None:
    code = "import os; sorted(os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd') if int(n) > 2)"
    result = sandbox.run_code(code)
    assert result.error is None or result.error.name in ("FileNotFoundError", "PermissionError")
    told = sandbox.commands.run("ls -l /proc/self/fd").stdout
    assert "socket:" not in told


def test_what_user_code_serves_to_itself_works(sandbox: Sandbox) -> None:
    code = "import socket; a = socket.create_server(('127.0.0.1', 0)); socket.create_connection(a.getsockname()); 'met'"
    assert sandbox.run_code(code).text == "met"
