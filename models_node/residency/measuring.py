"""How much memory an engine's processes really hold, read from /proc.

Private pages are counted in full, shared memory once over all the processes, and pages that an engine shares with the
nursery not at all: those are charged once for the whole node. Files that several map (libraries) are the page cache's.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

KIB = 1024
FIELD = re.compile(rb"^(Private_Clean|Private_Dirty|Pss_Shmem): +(\d+) kB", re.MULTILINE)
# A shared mapping of memory (not of a file on a disk), up to the end of its block in smaps.
SHARED = re.compile(
    rb"^[0-9a-f]+-[0-9a-f]+ ...s \S+ \S+ \d+ +(?:/dev/shm/|/memfd:|/dev/zero|/SYSV)[^\n]*\n(?:[A-Z][^\n]*\n)*",
    re.MULTILINE,
)
SHARED_WORTH_A_LOOK_BYTES = 8 * 2**20


@dataclass(frozen=True, slots=True)
class Measurement:
    """private_bytes: what the engine takes of the node's budget, of main memory, or on CUDA of the GPUs' (NVML): what
    it alone holds, or was promised, so never less than its KV cache. host_bytes: main memory alone.
    """

    private_bytes: int
    host_bytes: int


def private_bytes(pids: Iterable[int], promised_bytes: int) -> int:
    """What these processes hold together, and at least what they were promised. Blocks for some tens of milliseconds:
    the kernel walks their page tables.
    """
    return max(sum(held_bytes(pid) for pid in pids), promised_bytes)


def held_bytes(pid: int) -> int:
    """A process's private pages and its proportional part of shared memory; 0 when it is gone."""
    fields = {name: int(value) * KIB for name, value in FIELD.findall(read(pid, "smaps_rollup"))}
    shared = fields.get(b"Pss_Shmem", 0)
    private = fields.get(b"Private_Clean", 0) + fields.get(b"Private_Dirty", 0)
    # Shared memory that nobody else has touched yet is in both numbers.
    twice = private_shared_bytes(read(pid, "smaps")) if shared >= SHARED_WORTH_A_LOOK_BYTES else 0
    return private + shared - twice


def private_shared_bytes(smaps: bytes) -> int:
    """Bytes of shared memory, in the text of a /proc/PID/smaps, that only this process has touched."""
    return KIB * sum(
        int(value)
        for mapping in SHARED.finditer(smaps)
        for name, value in FIELD.findall(mapping[0])
        if name.startswith(b"Private")
    )


def read(pid: int, name: str) -> bytes:
    """The text of /proc/PID/name; empty when the process is gone, or not ours."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/{name}").read_bytes()
    return b""


def resident_bytes(pid: int) -> int:
    """Anonymous and shared memory in a process, without the page cache's part; 0 when it is gone."""
    found = re.findall(rb"^Rss(?:Anon|Shmem):\s+(\d+) kB", read(pid, "status"), re.MULTILINE)
    return KIB * sum(int(value) for value in found)


def kv_cache_bytes(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """The KV cache that an engine is asked to make, 0 where vLLM works it out itself.

    arguments, environment: those of its start. vLLM reads --kv-cache-memory-bytes (with k, m, g or K, M, G behind a
    number) and on CPUs VLLM_CPU_KVCACHE_SPACE in GiB, which goes first. It is filled with zeros, so it is held at once.
    """
    if (space := environment.get("VLLM_CPU_KVCACHE_SPACE", "")).isdecimal():
        return int(space) * 2**30
    value = ""
    for index, argument in enumerate(arguments):
        name, equals, given = argument.partition("=")
        if name.replace("_", "-") == "--kv-cache-memory-bytes":
            value = given if equals else (arguments[index + 1] if index + 1 < len(arguments) else "")
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kmgtKMGT]?)(?:i?B)?", value)
    if match is None:
        return 0
    power = "kmgt".find(match[2].lower()) + 1 if match[2] else 0
    return int(float(match[1]) * (1000 if match[2].islower() else 1024) ** power)
