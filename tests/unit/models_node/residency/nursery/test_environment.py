"""Which variables a forked engine may have of its own."""

from __future__ import annotations

from models_node.residency.nursery.environment import MARK_CHARS, needs_plain_start, nursery_environment

COMMON = {"PATH": "/bin", "HF_HUB_OFFLINE": "1", "VLLM_CPU_OMP_THREADS_BIND": "auto"}
NURSERY = nursery_environment(COMMON, "MARK")


def test_the_nursery_has_one_thread_and_room_for_a_mark() -> None:
    assert NURSERY["OPENBLAS_NUM_THREADS"] == "1"
    assert NURSERY["MARK"] == "." * MARK_CHARS
    assert "OMP_NUM_THREADS" not in nursery_environment({"OMP_NUM_THREADS": "1"}, "MARK")


def test_the_mark_is_the_last_variable() -> None:
    """A shorter mark ends in zeros, behind which readers of /proc/PID/environ see nothing."""
    assert list(NURSERY)[-1] == "MARK"


def test_a_process_s_title_is_not_written_over_its_mark() -> None:
    """It once was, and then no forked engine could be found, or even started."""
    assert NURSERY["SPT_NOENV"] == "1"


def test_what_is_read_late_may_differ() -> None:
    own = COMMON | {"VLLM_CPU_KVCACHE_SPACE": "6", "VLLM_CPU_OMP_THREADS_BIND": "0-3", "TMPDIR": "/x", "MARK": "m"}
    assert needs_plain_start(own | {"OMP_NUM_THREADS": "4"}, NURSERY, "MARK") == []


def test_what_is_read_at_an_import_may_not() -> None:
    assert needs_plain_start(COMMON | {"HF_HUB_OFFLINE": "0"}, NURSERY, "MARK") == ["HF_HUB_OFFLINE"]
    assert needs_plain_start(COMMON | {"VLLM_PLUGINS": "x"}, NURSERY, "MARK") == ["VLLM_PLUGINS"]
    assert needs_plain_start({"PATH": "/bin", "HF_HUB_OFFLINE": "1"}, NURSERY, "MARK") == []
    assert needs_plain_start({"VLLM_CPU_OMP_THREADS_BIND": "auto", "PATH": "/bin"}, NURSERY, "MARK") == [
        "HF_HUB_OFFLINE"
    ]


def test_a_library_to_preload_must_be_loaded_already() -> None:
    loaded = nursery_environment(COMMON | {"LD_PRELOAD": "/lib/libtcmalloc.so"}, "MARK")
    assert needs_plain_start(COMMON | {"LD_PRELOAD": "/lib/libtcmalloc.so"}, loaded, "MARK") == []
    assert needs_plain_start(COMMON | {"LD_PRELOAD": "/lib/other.so"}, loaded, "MARK") == ["LD_PRELOAD"]
