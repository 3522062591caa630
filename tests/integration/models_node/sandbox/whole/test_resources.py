"""What hostile code takes: processes, memory, disk, output. It is contained, and others are served meanwhile."""

from __future__ import annotations

import io
import os
import zipfile
from pathlib import Path

import pytest
from e2b import SandboxException, TimeoutException
from e2b_code_interpreter import Sandbox

from tests.integration.models_node.sandbox.whole.attacks import others_are_served, still_works
from tests.integration.models_node.sandbox.whole.conftest import Node
from tests.integration.models_node.sandbox.whole.waiting import until


def test_a_fork_bomb_stops_at_the_limit_and_the_sandbox_goes_on(node: Node, sandbox: Sandbox) -> None:
    code = """
import os, time
made, error = 0, None
children = []
try:
    while made < 5000:
        pid = os.fork()
        if pid == 0:
            time.sleep(60); os._exit(0)
        children.append(pid); made += 1
except OSError as caught:
    error = type(caught).__name__
for pid in children: os.kill(pid, 9)
for pid in children: os.waitpid(pid, 0)
print(made, error)
"""
    with others_are_served(node):
        told = "".join(sandbox.run_code(code).logs.stdout).split()
    assert int(told[0]) < 128
    assert told[1] == "BlockingIOError"
    still_works(sandbox)


def test_a_shells_fork_bomb_ends_with_its_command(node: Node, sandbox: Sandbox) -> None:
    with others_are_served(node), pytest.raises((TimeoutException, SandboxException)):
        sandbox.commands.run("f(){ f|f& f; }; f; sleep 100", timeout=3)
    until(lambda: len(sandbox.commands.list()) == 0, 20)
    still_works(sandbox)


def test_one_process_that_eats_memory_is_ended_and_said_to_be(node: Node, sandbox: Sandbox) -> None:
    with others_are_served(node):
        result = sandbox.run_code("x = bytearray(3 << 30); x[::4096] = b'1' * len(x[::4096])")
    assert result.error is not None
    assert "memory" in f"{result.error.name} {result.error.value}".lower()
    still_works(sandbox)


def test_many_processes_that_eat_memory_together_are_ended(node: Node, sandbox: Sandbox) -> None:
    code = "python -c \"x = bytearray(200 << 20); x[::4096] = b'1' * len(x[::4096]); import time; time.sleep(5)\""
    with others_are_served(node):
        result = sandbox.run_code(
            f"import subprocess\nfor p in [subprocess.Popen({code!r}, shell=True) for _ in range(8)]: print(p.wait())"
        )
    codes = [int(line) for line in "".join(result.logs.stdout).split()]
    assert result.error is not None or any(code != 0 for code in codes)
    usage = sandbox.get_metrics()
    assert all(point.mem_used <= 1.1 * 2**30 for point in usage)


def test_disks_fill_to_their_size_and_can_be_emptied(sandbox: Sandbox) -> None:
    code = """
import errno
for place in ('/home/user', '/tmp', '/dev/shm'):
    written = 0
    try:
        with open(f'{place}/full', 'wb') as file:
            while written < 2 << 30:
                written += file.write(b'x' * (1 << 20)); file.flush()
    except OSError as error:
        print(place, written >> 20, errno.errorcode[error.errno])
    import os; os.remove(f'{place}/full')
"""
    lines = "".join(sandbox.run_code(code).logs.stdout).splitlines()
    found = {line.split()[0]: (int(line.split()[1]), line.split()[2]) for line in lines}
    assert found.keys() == {"/home/user", "/tmp", "/dev/shm"}
    assert all(size <= 256 and error == "ENOSPC" for size, error in found.values())
    still_works(sandbox)


def test_inodes_are_limited(sandbox: Sandbox) -> None:
    code = """
import os, errno
os.mkdir('many')
try:
    for n in range(1_000_000): open(f'many/{n}', 'w').close()
except OSError as error: print(n, errno.errorcode[error.errno])
import shutil; shutil.rmtree('many')
"""
    count, error = "".join(sandbox.run_code(code).logs.stdout).split()
    assert int(count) <= 20_000
    assert error == "ENOSPC"


def test_a_full_disk_refuses_an_upload_and_leaves_no_part_of_it(sandbox: Sandbox) -> None:
    sandbox.commands.run("head -c 200M /dev/zero > filler")
    with pytest.raises(SandboxException, match=r"(?i)space|disk"):
        sandbox.files.write("big.bin", b"x" * (90 << 20))
    assert [entry.name for entry in sandbox.files.list(".") if "big" in entry.name] == []
    sandbox.commands.run("rm filler")


@pytest.mark.parametrize("code", ["while True: print('x' * 1000)", "import os\nwhile True: os.write(1, b'y' * 65536)"])
def test_endless_output_is_cut_and_said_to_be(node: Node, sandbox: Sandbox, code: str) -> None:
    seen = 0

    def count(message: object) -> None:
        nonlocal seen
        seen += len(str(message))

    with others_are_served(node):
        result = sandbox.run_code(code, on_stdout=count, timeout=60)
    assert seen < 12 * 2**20
    assert result.error is not None or any("limit" in line for line in result.logs.stderr)
    still_works(sandbox)


def test_an_endless_command_output_is_cut_too(sandbox: Sandbox) -> None:
    seen = 0

    def count(text: str) -> None:
        nonlocal seen
        seen += len(text)

    with pytest.raises(SandboxException):
        sandbox.commands.run("yes", on_stdout=count, timeout=30)
    assert seen < 12 * 2**20
    still_works(sandbox)


@pytest.mark.parametrize(
    "code",
    ["import os; os._exit(3)", "import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "import os; os.kill(-1, 9)",
     "import ctypes; ctypes.string_at(0)"],
)  # fmt: skip
def test_a_kernel_that_ends_itself_is_told_and_replaced(sandbox: Sandbox, code: str) -> None:
    assert sandbox.run_code(code).error is not None
    still_works(sandbox)


def test_kill_9_minus_1_leaves_the_sandbox_itself(sandbox: Sandbox) -> None:
    sandbox.run_code("kernel = 'this one'")
    sandbox.commands.run("kill -9 -1; kill -9 1")
    assert sandbox.run_code("kernel").error is not None, "it was killed, and said so"
    still_works(sandbox)
    assert sandbox.commands.run("echo well").stdout == "well\n"


def test_a_zip_bomb_hurts_itself_alone(node: Node, sandbox: Sandbox) -> None:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", b"\0" * (400 << 20))
    sandbox.files.write("bomb.zip", packed.getvalue())
    with others_are_served(node):
        result = sandbox.run_code("import zipfile; zipfile.ZipFile('bomb.zip').extractall('.')")
    assert result.error is not None
    sandbox.commands.run("rm -f zeros bomb.zip")
    still_works(sandbox)


def host_tcp_bytes() -> int:
    """What all TCP sockets of the machine hold in buffers: a pool that every network namespace shares."""
    [line] = [line for line in Path("/proc/net/sockstat").read_text().splitlines() if line.startswith("TCP:")]
    return int(line.split()[-1]) * os.sysconf("SC_PAGE_SIZE")


def test_socket_buffers_are_limited_like_other_memory(sandbox: Sandbox) -> None:
    code = """
import socket
server = socket.create_server(('127.0.0.1', 0), backlog=512)
held, written = [], 0
for _ in range(400):
    mine = socket.create_connection(server.getsockname()); theirs = server.accept()[0]
    mine.setblocking(False); held += [mine, theirs]
    try:
        while True: written += mine.send(b'x' * 65536)
    except OSError: pass
print(written >> 20)
"""
    before = host_tcp_bytes()
    told = int("".join(sandbox.run_code(code).logs.stdout) or 0)
    assert told < 128
    assert host_tcp_bytes() - before < 128 * 2**20
    still_works(sandbox)


def test_no_sandbox_uses_up_the_file_watches_of_others(node: Node, sandbox: Sandbox) -> None:
    other = node.create(timeout=60)
    try:
        code = """
import ctypes
libc = ctypes.CDLL(None)
print(len([fd for fd in (libc.inotify_init1(0) for _ in range(1000)) if fd >= 0]))
"""
        assert int("".join(sandbox.run_code(code).logs.stdout)) <= 6
        watch = other.files.watch_dir(".")
        other.files.write("seen", "x")
        until(lambda: bool(watch.get_new_events()), 10)
    finally:
        other.kill()


def test_kernels_die_before_the_agent_when_memory_runs_out(sandbox: Sandbox) -> None:
    assert sandbox.commands.run("cat /proc/self/oom_score_adj").stdout == "1000\n"
    assert sandbox.commands.run("cat /proc/1/oom_score_adj").stdout != "1000\n"
