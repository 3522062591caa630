import re
import threading
from pathlib import Path

import pytest

from stack.install.bootstrap import explain, install_lock
from stack.install.environments import ENVIRONMENTS, TESTS_ONLY, TORCH, _blocks_of, lock_of
from stack.install.fingerprint import fingerprint, is_complete, mark_complete
from stack.settings import REPOSITORY, Settings

LOCKS = sorted((REPOSITORY / "requirements").glob("*.lock"))


def test_what_was_made_from_an_older_lock_is_not_complete(tmp_path: Path) -> None:
    lock = tmp_path / "a.lock"
    lock.write_text("one==1")
    mark_complete(tmp_path, fingerprint(lock))
    assert is_complete(tmp_path, fingerprint(lock))
    lock.write_text("one==2")
    assert not is_complete(tmp_path, fingerprint(lock))


@pytest.mark.parametrize(
    ("log", "told"),
    [
        ("Collecting x\nOSError: [Errno 28] No space left on device\n", "no disk space left"),
        (
            "error: Request failed after 3 retries\n  Caused by: dns error: failed to lookup address\n",
            "index cannot be reached",
        ),
        ("Resolved 3 packages\nerror: hash mismatch for x\n  Computed: 1\n", "error: hash mismatch for x"),
        ("", "it failed without a word"),
    ],
)
def test_a_failed_installer_is_told_in_one_line(tmp_path: Path, log: str, told: str) -> None:
    path = tmp_path / "install.log"
    path.write_text(log)
    assert told in explain(path)
    assert "\n" not in explain(path)


def test_two_installations_of_one_home_wait_for_each_other(tmp_path: Path) -> None:
    order: list[str] = []
    inside, release = threading.Event(), threading.Event()

    def first() -> None:
        with install_lock(tmp_path):
            inside.set()
            release.wait(10)
            order.append("first")

    thread = threading.Thread(target=first)
    thread.start()
    assert inside.wait(10)
    threading.Timer(0.1, release.set).start()
    with install_lock(tmp_path):
        order.append("second")
    thread.join(10)
    assert order == ["first", "second"]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda path: path.stem)
def test_locks_are_exact_hashed_and_name_no_place(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    entries = [line for line in text.splitlines() if line[:1].isalnum()]
    assert entries
    assert [line for line in entries if not re.match(r"^[A-Za-z0-9._-]+==[^ ]+ ", line)] == []
    assert text.count("--hash=sha256:") >= len(entries)
    assert "://" not in text


def test_the_cpu_lock_has_no_cuda_and_leaves_torch_to_its_own_source() -> None:
    names = re.findall(r"^([a-z0-9-]+)==", (REPOSITORY / "requirements" / "models.lock").read_text(), re.M)
    assert not [name for name in names if name.startswith(("nvidia", "torch")) and name != "torch-c-dlpack-ext"]
    assert TORCH in (REPOSITORY / "pyproject.toml").read_text()


def test_the_gpu_flag_takes_another_lock(tmp_path: Path) -> None:
    assert lock_of(Settings(home=tmp_path), "models").name == "models.lock"
    assert lock_of(Settings(home=tmp_path, gpu=True), "models").name == "models-gpu.lock"
    assert all(lock_of(Settings(home=tmp_path), name).exists() for name in ENVIRONMENTS)


def test_only_pytest_and_its_parts_are_laid_over_an_environment() -> None:
    chosen = _blocks_of(REPOSITORY / "requirements" / "dev.lock", TESTS_ONLY)
    assert re.findall(r"^([a-z-]+)==", chosen, re.M) == sorted(TESTS_ONLY)
