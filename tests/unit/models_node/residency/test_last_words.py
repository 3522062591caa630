"""What a log says of an engine's end."""

from __future__ import annotations

from pathlib import Path

import pytest

from models_node.residency.last_words import died_for_memory, last_words


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return tmp_path / "a.log"


def test_no_log_and_a_quiet_log_say_nothing(log: Path) -> None:
    assert last_words(log) == ""
    log.write_text("INFO all is well\nshutting down\n")
    assert last_words(log) == ""


def test_the_last_error_is_found_without_its_prefix(log: Path) -> None:
    log.write_text(
        "fine\nTraceback (most recent call last):\n"
        "(EngineCore pid=7) ERROR 11-24 15:16:30 [v1/engine/core.py:12] ValueError: the context is too long\nbye\n"
    )
    assert last_words(log) == "ValueError: the context is too long"


def test_a_process_s_own_words_go_before_those_that_only_saw_it_fail(log: Path) -> None:
    log.write_text(
        "(Worker pid=9) ERROR 11-24 15:16:30 [x.py:1] ValueError: no such dtype\n"
        "RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {}\n"
    )
    assert last_words(log) == "ValueError: no such dtype"


def test_at_most_three_different_errors_are_told_and_each_is_bounded(log: Path) -> None:
    log.write_text("".join(f"ValueError: number {number}\n" * 2 for number in range(5)) + f"KeyError: {'x' * 5000}\n")
    said = last_words(log)
    assert said.startswith("ValueError: number 3 | ValueError: number 4 | KeyError: x")
    assert len(said) < 1000


def test_only_the_end_of_a_long_log_is_read(log: Path) -> None:
    log.write_text("ValueError: long ago\n" + "fine\n" * 50_000)
    assert last_words(log) == ""


@pytest.mark.parametrize(
    "line",
    [
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
        "RuntimeError: [enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory: you "
        "tried to allocate 9 bytes. Error code 12 (Cannot allocate memory)",
        "ValueError: No available memory for the cache blocks. Try increasing `gpu_memory_utilization`",
        "ValueError: Available memory on node 0 (1/2 GiB) on kv cache allocation is less than requested memory for kv",
        "MemoryError",
        "OSError: [Errno 12] Cannot allocate memory",
        "terminate called after throwing an instance of 'std::bad_alloc'",
    ],
)
def test_a_death_for_memory_is_known_by_its_words(log: Path, line: str) -> None:
    log.write_text(f"fine\n(Worker pid=3) ERROR 11-24 15:16:30 [x.py:1] {line}\n")
    assert died_for_memory(log)


def test_other_deaths_are_not_for_memory(log: Path) -> None:
    log.write_text("INFO memory: 3 GiB of KV cache memory\nValueError: unknown architecture\n")
    assert not died_for_memory(log)
