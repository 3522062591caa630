"""The filters of both architectures, run by a small interpreter of classic BPF: what the kernel would decide."""

from __future__ import annotations

import errno
import struct
from collections.abc import Sequence

import pyseccomp
import pytest

from models_node.sandbox.inside import seccomp
from models_node.sandbox.inside.seccomp import ARCHITECTURES, Architecture

ALLOW = pyseccomp.ALLOW
EPERM = pyseccomp.ERRNO(errno.EPERM)
ENOSYS = pyseccomp.ERRNO(errno.ENOSYS)
X32 = 0x4000_0000
CLONE_NEWUSER, SIGCHLD = 0x1000_0000, 17


def decide(program: bytes, architecture: int, number: int, arguments: Sequence[int] = ()) -> int:
    """Runs a filter over one struct seccomp_data (seccomp(2)). Knows the instructions that libseccomp writes."""
    padded = [*arguments, *([0] * (6 - len(arguments)))]
    data = struct.pack("<iIQ6Q", number, architecture, 0, *padded)
    code = [struct.unpack_from("<HBBI", program, offset) for offset in range(0, len(program), 8)]
    accumulator, at = 0, 0
    while True:
        operation, jump_true, jump_false, k = code[at]
        at += 1
        match operation:
            case 0x20:  # ld [k]
                accumulator = struct.unpack_from("<I", data, k)[0]
            case 0x54:  # and k
                accumulator &= k
            case 0x05:  # ja k
                at += k
            case 0x15:  # jeq k
                at += jump_true if accumulator == k else jump_false
            case 0x25:  # jgt k
                at += jump_true if accumulator > k else jump_false
            case 0x35:  # jge k
                at += jump_true if accumulator >= k else jump_false
            case 0x06:  # ret k
                return k
            case _:
                raise AssertionError(f"an instruction this interpreter does not know: {operation:#x}")


class Filter:
    def __init__(self, name: Architecture) -> None:
        self.audit = ARCHITECTURES[name]
        self.program = seccomp.build(name)

    def __call__(self, call: str | int, *arguments: int) -> int:
        number = call if isinstance(call, int) else int(pyseccomp.resolve_syscall(self.audit, call))
        assert number >= 0, f"{call} is no call of this architecture"
        return decide(self.program, self.audit, number, arguments)


@pytest.fixture(scope="module", params=sorted(ARCHITECTURES))
def decided(request: pytest.FixtureRequest) -> Filter:
    return Filter(request.param)


def test_what_programs_live_on_is_allowed(decided: Filter) -> None:
    for call in (
        "read",
        "write",
        "openat",
        "mmap",
        "execve",
        "exit_group",
        "futex",
        "epoll_pwait",
        "getrandom",
        "wait4",
    ):
        assert decided(call) == ALLOW, call


REFUSED = """
ptrace mount umount2 unshare setns bpf io_uring_setup userfaultfd perf_event_open keyctl add_key process_vm_readv
pidfd_getfd open_by_handle_at kexec_load init_module pivot_root chroot fsopen open_tree move_mount mount_setattr
fanotify_init reboot swapon vmsplice
"""


@pytest.mark.parametrize("call", REFUSED.split())
def test_what_is_dangerous_is_refused_with_eperm(decided: Filter, call: str) -> None:
    assert decided(call) == EPERM


def test_a_call_no_kernel_had_when_this_was_written_is_not_there(decided: Filter) -> None:
    assert decided(987) == ENOSYS


def test_new_namespaces_cannot_be_cloned_and_clone3_falls_back(decided: Filter) -> None:
    assert decided("clone", SIGCHLD) == ALLOW
    for flag in (0x0002_0000, 0x0200_0000, 0x0400_0000, 0x0800_0000, CLONE_NEWUSER, 0x2000_0000, 0x4000_0000):
        assert decided("clone", flag | SIGCHLD) == ENOSYS
    assert decided("clone3") == ENOSYS


@pytest.mark.parametrize("family", [17, 31, 38, 40, 44], ids=["packet", "bluetooth", "alg", "vsock", "xdp"])
def test_only_unix_internet_and_route_sockets_can_be_made(decided: Filter, family: int) -> None:
    assert decided("socket", 1, 1, 0) == ALLOW
    assert decided("socket", 2, 1, 6) == ALLOW
    assert decided("socket", 10, 2, 17) == ALLOW
    assert decided("socket", 16, 3, 0) == ALLOW
    assert decided("socket", family, 1, 0) == ENOSYS
    assert decided("socket", 16, 3, 9) == ENOSYS, "netlink beyond routes"
    assert decided("socket", 2, 1, 262) == ENOSYS, "MPTCP"


def test_upper_halves_of_arguments_hide_nothing(decided: Filter) -> None:
    assert decided("socket", (1 << 32) | 40, 1, 0) != ALLOW
    assert decided("clone", (1 << 32) | CLONE_NEWUSER | SIGCHLD) != ALLOW


def test_addresses_stay_random(decided: Filter) -> None:
    assert decided("personality", 0xFFFF_FFFF) == ALLOW
    assert decided("personality", 0x0004_0000) == ENOSYS


def test_another_architectures_calls_are_refused_not_fatal(decided: Filter) -> None:
    i386 = 0x4000_0003
    assert decide(decided.program, i386, 4) == ENOSYS


def test_x32_calls_do_not_go_around_the_list() -> None:
    assert Filter("x86_64")(X32 + 101) == ENOSYS
