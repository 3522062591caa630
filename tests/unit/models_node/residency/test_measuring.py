"""Memory as the kernel tells it: private pages in full, shared ones once."""

from __future__ import annotations

import mmap
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from models_node.residency.measuring import (
    held_bytes,
    kv_cache_bytes,
    private_bytes,
    private_shared_bytes,
    resident_bytes,
)

MIB = 2**20
HOLDING = f"""
import mmap, os, sys
own = bytearray(os.urandom(1)) * (64 * {MIB})
shared = mmap.mmap(-1, 32 * {MIB})
shared.write(b"x" * (32 * {MIB}))
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        shared.seek(0); shared.read()
        print(os.getpid(), flush=True); sys.stdin.read(); os._exit(0)
print(os.getpid(), flush=True)
sys.stdin.read()
"""


@pytest.fixture
def holding() -> Iterator[list[int]]:
    """A process with 64 MiB of its own and 32 MiB shared with its two forks, which share its own too."""
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", HOLDING, "2"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    yield [int(process.stdout.readline()) for _ in range(3)]
    process.communicate("")


def test_what_forks_share_with_their_parent_is_not_theirs_and_shared_memory_counts_once(holding: list[int]) -> None:
    together = private_bytes(holding, 0)
    assert 32 * MIB <= together < 32 * MIB + 3 * 8 * MIB  # interpreters have a little of their own
    assert resident_bytes(holding[-1]) >= 96 * MIB


def test_private_pages_count_in_full() -> None:
    before = held_bytes(os.getpid())
    block = mmap.mmap(-1, 48 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    block.write(b"x" * (48 * MIB))
    assert 40 * MIB <= held_bytes(os.getpid()) - before < 80 * MIB
    block.close()


def test_shared_memory_that_nobody_else_touched_is_not_counted_twice() -> None:
    before = held_bytes(os.getpid())
    block = mmap.mmap(-1, 48 * MIB)
    block.write(b"x" * (48 * MIB))
    assert 40 * MIB <= held_bytes(os.getpid()) - before < 80 * MIB
    block.close()


def test_no_less_than_what_was_promised_is_told() -> None:
    assert private_bytes([], 7 * MIB) == 7 * MIB


def test_a_process_that_is_gone_holds_nothing() -> None:
    assert held_bytes(2**22 + 1) == resident_bytes(2**22 + 1) == 0


def test_files_that_are_mapped_shared_are_the_page_cache_s() -> None:
    block = (
        b"7f00-7f10 rw-s 00000000 08:01 42 %s\nSize: 64 kB\nPss: 8 kB\nPrivate_Clean: 4 kB\nPrivate_Dirty: 8 kB\n"
        b"VmFlags: rd wr\n"
    )
    assert private_shared_bytes(block % b"/var/data/file") == 0
    assert private_shared_bytes(block % b"/dev/shm/psm_1" + block % b"/memfd:x (deleted)") == 2 * 12 * 1024


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        ([], {}, 0),
        (["--kv-cache-memory-bytes", "384M"], {}, 384 * MIB),
        (["--kv-cache-memory-bytes=2g"], {}, 2 * 10**9),
        (["--kv-cache-memory-bytes", "1000"], {}, 1000),
        (["--kv-cache-memory-bytes", "1G", "--kv-cache-memory-bytes", "2G"], {}, 2 * 2**30),
        (["--kv-cache-memory-bytes", "1G"], {"VLLM_CPU_KVCACHE_SPACE": "6"}, 6 * 2**30),
        (["--kv-cache-memory-bytes", "auto"], {"VLLM_CPU_KVCACHE_SPACE": ""}, 0),
    ],
)
def test_the_kv_cache_that_is_asked_for_is_read_as_vllm_reads_it(
    arguments: list[str], environment: dict[str, str], expected: int
) -> None:
    assert kv_cache_bytes(arguments, environment) == expected
