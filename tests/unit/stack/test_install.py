import re
import threading
from pathlib import Path

import pytest

from stack.errors import InstallError
from stack.install.bootstrap import explain, install_lock
from stack.install.environments import (
    ENVIRONMENTS,
    SPEECH_ENGINES,
    TESTS_ONLY,
    TORCH,
    WITH_TORCH,
    _blocks_of,
    _make_torchaudio_loadable,
    lock_of,
)
from stack.install.fingerprint import fingerprint, is_complete, mark_complete
from stack.install.prepared import PREPARED, _wanted, is_prepared
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


@pytest.mark.parametrize("environment", WITH_TORCH)
def test_cpu_locks_have_no_cuda_and_leave_torch_to_its_own_source(environment: str) -> None:
    names = re.findall(r"^([a-z0-9-]+)==", (REPOSITORY / "requirements" / f"{environment}.lock").read_text(), re.M)
    known = {"torch-c-dlpack-ext"} | ({"torchaudio", "torchcodec"} if environment == "tts-coqui" else set())
    assert not [name for name in names if name.startswith(("nvidia", "torch")) and name not in known]
    assert TORCH in (REPOSITORY / "pyproject.toml").read_text()


def _pretend_environment(home: Path, python: str) -> Path:
    """An environment whose python is a script, and a torchaudio with libraries in it."""
    directory = home / "envs" / "tts-coqui"
    libraries = directory / "lib" / "python3.11" / "site-packages" / "torchaudio" / "lib"
    libraries.mkdir(parents=True)
    (libraries / "libtorchaudio.so").touch()
    (libraries.parent / "__init__.py").touch()
    (directory / "bin").mkdir()
    (directory / "bin" / "python").write_text(f"#!/bin/sh\n{python}\n")
    (directory / "bin" / "python").chmod(0o755)
    return libraries


def test_cuda_libraries_are_taken_out_of_torchaudio_and_nothing_else(tmp_path: Path) -> None:
    libraries = _pretend_environment(tmp_path, "exit 0")
    for _ in range(2):  # an interrupted installation goes on
        _make_torchaudio_loadable(Settings(home=tmp_path), "tts-coqui")
        assert not libraries.exists()
        assert (libraries.parent / "__init__.py").exists()


def test_a_torchaudio_that_still_does_not_load_fails_the_installation(tmp_path: Path) -> None:
    _pretend_environment(tmp_path, "echo 'OSError: libcudart.so.13'; exit 1")
    with pytest.raises(InstallError, match="torchaudio can't be imported: OSError: libcudart"):
        _make_torchaudio_loadable(Settings(home=tmp_path), "tts-coqui")


def test_the_gpu_flag_takes_another_lock(tmp_path: Path) -> None:
    assert lock_of(Settings(home=tmp_path), "models").name == "models.lock"
    assert lock_of(Settings(home=tmp_path, gpu=True), "models").name == "models-gpu.lock"
    assert all(lock_of(Settings(home=tmp_path), name).exists() for name in ENVIRONMENTS)


def test_only_pytest_and_its_parts_are_laid_over_an_environment() -> None:
    chosen = _blocks_of(REPOSITORY / "requirements" / "dev.lock", TESTS_ONLY)
    assert re.findall(r"^([a-z-]+)==", chosen, re.M) == sorted(TESTS_ONLY)


def test_what_was_taken_from_its_folder_is_prepared_again(tmp_path: Path) -> None:
    settings, lock = Settings(home=tmp_path), REPOSITORY / "requirements" / "services.lock"
    kokoro = PREPARED["services"]
    folder = kokoro.folder(settings)
    for name in kokoro.files:
        (folder / name).mkdir(parents=True)
    mark_complete(folder, _wanted(settings, kokoro, lock))
    assert is_prepared(settings, "services", lock)
    (folder / "front.onnx").rmdir()
    assert not is_prepared(settings, "services", lock)


def test_every_optional_engine_of_speech_has_an_environment() -> None:
    assert set(SPEECH_ENGINES.values()) <= set(ENVIRONMENTS)
