"""The system calls a sandbox may make: a list of what is allowed, so that calls a future kernel adds are not.

What is not listed answers ENOSYS, as on an older kernel, and programs fall back; what is dangerous and well known
answers EPERM, so that its refusal is told apart. libseccomp writes the filter (`pyseccomp`), for the machine's own
architecture; names that a libseccomp or an architecture does not have are left out, which is to say refused.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from typing import Literal

import pyseccomp

Architecture = Literal["x86_64", "aarch64"]
ARCHITECTURES: dict[Architecture, int] = {"x86_64": 0xC000_003E, "aarch64": 0xC000_00B7}  # AUDIT_ARCH_*

FILES = """
access chdir chmod chown close close_range copy_file_range creat dup dup2 dup3 faccessat faccessat2 fadvise64 fallocate
fchdir fchmod fchmodat fchmodat2 fchown fchownat fcntl fdatasync fgetxattr flistxattr flock fremovexattr fsetxattr
fstat fstatfs fsync ftruncate futimesat getcwd getdents getdents64 getxattr inotify_add_watch inotify_init
inotify_init1 inotify_rm_watch ioctl lchown lgetxattr link linkat listxattr llistxattr lremovexattr lseek lsetxattr
lstat memfd_create mkdir mkdirat mknod mknodat newfstatat open openat openat2 pipe pipe2 pread64 preadv preadv2 pwrite64
pwritev pwritev2 read readahead readlink readlinkat readv removexattr rename renameat renameat2 rmdir sendfile setxattr
splice stat statfs statx symlink symlinkat sync_file_range tee truncate umask unlink unlinkat utime
utimensat utimes write writev cachestat
"""
MEMORY = """
brk madvise membarrier mincore mlock mlock2 mlockall mmap mprotect mremap mseal msync munlock munlockall munmap
pkey_alloc pkey_free pkey_mprotect
"""
PROCESSES = """
alarm arch_prctl capget execve execveat exit exit_group fork futex futex_waitv futex_wait futex_wake get_robust_list
get_thread_area getcpu getegid geteuid getgid getgroups getitimer getpgid getpgrp getpid getppid getpriority getrandom
getresgid getresuid getrlimit getrusage getsid gettid getuid kill landlock_add_rule landlock_create_ruleset
landlock_restrict_self nanosleep pause pidfd_open pidfd_send_signal prctl prlimit64 restart_syscall rseq rt_sigaction
rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_tgsigqueueinfo
sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler
sched_rr_get_interval sched_setaffinity sched_setattr sched_setparam sched_setscheduler sched_yield seccomp
set_robust_list set_tid_address setfsgid setfsuid setgid setgroups setitimer setpgid setpriority setregid setresgid
setresuid setreuid setrlimit setsid setuid sigaltstack sysinfo tgkill time times tkill uname vfork wait4 waitid
"""
WAITING = """
clock_getres clock_gettime clock_nanosleep epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2
epoll_wait epoll_wait_old eventfd eventfd2 gettimeofday poll ppoll pselect6 select signalfd signalfd4 timer_create
timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime timerfd_settime
"""
TALKING = """
accept accept4 bind connect getpeername getsockname getsockopt listen recvfrom recvmmsg recvmsg sendmmsg sendmsg sendto
setsockopt shutdown mq_getsetattr mq_notify mq_open mq_timedreceive mq_timedsend mq_unlink msgctl msgget msgrcv msgsnd
semctl semget semop semtimedop shmat shmctl shmdt shmget
"""
ALLOWED: tuple[str, ...] = tuple(" ".join((FILES, MEMORY, PROCESSES, WAITING, TALKING)).split())

DANGEROUS = """
acct add_key bpf chroot clock_adjtime clock_settime delete_module fanotify_init fanotify_mark finit_module fsconfig
fsmount fsopen fspick init_module io_uring_enter io_uring_register io_uring_setup kcmp kexec_file_load kexec_load
keyctl lookup_dcookie memfd_secret migrate_pages mount mount_setattr move_mount move_pages name_to_handle_at
nfsservctl open_by_handle_at open_tree perf_event_open pidfd_getfd pivot_root process_madvise process_mrelease
process_vm_readv process_vm_writev ptrace quotactl quotactl_fd reboot request_key setdomainname sethostname setns
settimeofday swapoff swapon syslog umount umount2 unshare userfaultfd vhangup vmsplice
"""
REFUSED: tuple[str, ...] = tuple(DANGEROUS.split())

AF_UNIX, AF_INET, AF_INET6, AF_NETLINK = 1, 2, 10, 16
NETLINK_ROUTE = 0  # what libc and ZeroMQ list interfaces by
INTERNET_PROTOCOLS = (0, 1, 6, 17, 58)  # default, ICMP, TCP, UDP, ICMPv6: no MPTCP, SCTP, SMC
PERSONALITIES = (0, 0xFFFF_FFFF)  # Linux as it is, and the question what is set
BAD_ARCHITECTURE = 2  # SCMP_FLTATR_ACT_BADARCH, which pyseccomp has no name for
NEW_NAMESPACES = 0x7E02_0000  # every CLONE_NEW* that clone() knows


def build(architecture: Architecture | None = None) -> bytes:
    """The filter as the kernel takes it: struct sock_filter, 8 bytes each.

    architecture: None for this machine's own. Raises OSError when libseccomp cannot write one.
    """
    rules = pyseccomp.SyscallFilter(pyseccomp.ERRNO(errno.ENOSYS))
    rules.set_attr(BAD_ARCHITECTURE, pyseccomp.ERRNO(errno.ENOSYS))  # 32-bit calls: refused, not fatal
    if architecture is not None and ARCHITECTURES[architecture] != pyseccomp.system_arch():
        rules.remove_arch(pyseccomp.system_arch())
        rules.add_arch(ARCHITECTURES[architecture])
    for action, name, conditions in _rules():
        try:
            rules.add_rule(action, name, *conditions)
        except (OSError, ValueError):
            if action == pyseccomp.ALLOW and name in _INDISPENSABLE:
                raise
    with tempfile.TemporaryFile() as file:
        rules.export_bpf(file)
        return os.pread(file.fileno(), 1 << 20, 0)


_INDISPENSABLE = frozenset(("read", "write", "openat", "mmap", "execve", "exit_group", "socket", "clone", "futex"))


def _rules() -> Iterator[tuple[int, str, tuple[pyseccomp.Arg, ...]]]:
    """Rules of one call are alternatives; the conditions of one rule hold together."""
    equal, masked = pyseccomp.EQ, pyseccomp.MASKED_EQ
    for name in ALLOWED:
        yield pyseccomp.ALLOW, name, ()
    for name in REFUSED:
        yield pyseccomp.ERRNO(errno.EPERM), name, ()
    for name in ("sync", "syncfs"):  # the host's disks are not a sandbox's to flush: done, and nothing happens
        yield pyseccomp.ERRNO(0), name, ()
    yield pyseccomp.ALLOW, "clone", (pyseccomp.Arg(0, masked, NEW_NAMESPACES, 0),)
    # clone3's flags lie in memory, where a filter cannot look: ENOSYS, and libc falls back to clone.
    for value in PERSONALITIES:
        yield pyseccomp.ALLOW, "personality", (pyseccomp.Arg(0, equal, value),)
    yield pyseccomp.ALLOW, "socketpair", (pyseccomp.Arg(0, equal, AF_UNIX),)
    yield pyseccomp.ALLOW, "socket", (pyseccomp.Arg(0, equal, AF_UNIX),)
    yield pyseccomp.ALLOW, "socket", (pyseccomp.Arg(0, equal, AF_NETLINK), pyseccomp.Arg(2, equal, NETLINK_ROUTE))
    for family in (AF_INET, AF_INET6):
        for protocol in INTERNET_PROTOCOLS:
            yield pyseccomp.ALLOW, "socket", (pyseccomp.Arg(0, equal, family), pyseccomp.Arg(2, equal, protocol))
