"""`files` of the real SDK against the agent."""

from __future__ import annotations

import io
import uuid

import pytest
from e2b import AuthenticationException, FileNotFoundException, FileType, InvalidArgumentException
from e2b.sandbox.filesystem.watch_handle import FilesystemEventType
from e2b_code_interpreter import AsyncSandbox, Sandbox
from running_agent import RunningAgent, wait_for


@pytest.fixture
def name() -> str:
    return uuid.uuid4().hex


@pytest.mark.parametrize("options", [{}, {"use_octet_stream": True}, {"gzip": True}])
def test_what_is_written_is_read(sandbox: Sandbox, name: str, options: dict[str, bool]) -> None:
    data = bytes(range(256)) * 4096
    info = sandbox.files.write(f'{name}/ü "x".bin', data, **options)
    assert (info.name, info.path.endswith(f'/{name}/ü "x".bin')) == ('ü "x".bin', True)
    for gzip in (False, True):
        assert bytes(sandbox.files.read(info.path, format="bytes", gzip=gzip)) == data
    assert b"".join(sandbox.files.read(info.path, format="stream")) == data


def test_a_stream_is_written(sandbox: Sandbox, name: str) -> None:
    sandbox.files.write(name, io.BytesIO(b"streamed" * 1000))
    assert sandbox.files.read(name) == "streamed" * 1000


def test_several_files_are_written_at_once(sandbox: Sandbox, name: str) -> None:
    files = [{"path": f"{name}/{index}", "data": str(index)} for index in range(3)]
    assert [info.name for info in sandbox.files.write_files(files)] == ["0", "1", "2"]
    assert [sandbox.files.read(f"{name}/{index}") for index in range(3)] == ["0", "1", "2"]


def test_writing_again_replaces_and_keeps_the_mode(sandbox: Sandbox, agent: RunningAgent, name: str) -> None:
    sandbox.files.write(name, "one")
    (agent.home / name).chmod(0o755)
    sandbox.files.write(name, "two")
    assert sandbox.files.read(name) == "two"
    assert sandbox.files.get_info(name).mode == 0o755


def test_a_link_is_written_through(sandbox: Sandbox, agent: RunningAgent, name: str) -> None:
    sandbox.files.write(f"{name}/target", "before")
    (agent.home / name / "link").symlink_to("target")
    sandbox.files.write(f"{name}/link", "after")
    assert sandbox.files.read(f"{name}/target") == "after"
    info = sandbox.files.get_info(f"{name}/link")
    assert (info.type, info.symlink_target) == (FileType.SYMLINK, "target")


def test_what_is_not_there_is_not_found(sandbox: Sandbox, name: str) -> None:
    with pytest.raises(FileNotFoundException, match=name):
        sandbox.files.read(name)
    with pytest.raises(FileNotFoundException):
        sandbox.files.get_info(name)
    with pytest.raises(FileNotFoundException):
        sandbox.files.list(name)
    assert not sandbox.files.exists(name)
    sandbox.files.remove(name)


def test_a_folder_is_no_file(sandbox: Sandbox, name: str) -> None:
    assert sandbox.files.make_dir(name)
    assert not sandbox.files.make_dir(name)
    with pytest.raises(InvalidArgumentException, match="folder"):
        sandbox.files.read(name)
    with pytest.raises(InvalidArgumentException, match="folder"):
        sandbox.files.write(name, "x")


def test_a_pipe_and_a_device_are_refused_without_waiting(sandbox: Sandbox, name: str) -> None:
    sandbox.commands.run(f"mkfifo {name}")
    for path in (name, "/dev/zero"):
        with pytest.raises(InvalidArgumentException, match="no regular file"):
            sandbox.files.read(path)


def test_root_is_refused(sandbox: Sandbox, name: str) -> None:
    with pytest.raises(AuthenticationException, match="'root' is not available"):
        sandbox.files.write(name, "x", user="root")
    with pytest.raises(AuthenticationException, match="'root' is not available"):
        sandbox.files.list(".", user="root")
    sandbox.files.write(name, "x", user="user")


def test_folders_are_listed_to_a_depth(sandbox: Sandbox, name: str) -> None:
    sandbox.files.write(f"{name}/a/b/c", "x")
    sandbox.files.write(f"{name}/z", "x")
    assert [entry.name for entry in sandbox.files.list(name)] == ["a", "z"]
    assert sorted(entry.name for entry in sandbox.files.list(name, depth=3)) == ["a", "b", "c", "z"]
    (folder,) = [entry for entry in sandbox.files.list(name) if entry.name == "a"]
    assert folder.type == FileType.DIR


def test_entries_are_moved_and_removed(sandbox: Sandbox, name: str) -> None:
    sandbox.files.write(f"{name}/one", "x")
    moved = sandbox.files.rename(f"{name}/one", f"{name}/below/two")
    assert moved.path.endswith(f"{name}/below/two")
    assert not sandbox.files.exists(f"{name}/one")
    sandbox.files.remove(name)
    assert not sandbox.files.exists(name)


def test_metadata_is_kept_with_the_file(sandbox: Sandbox, name: str) -> None:
    info = sandbox.files.write(name, "x", metadata={"Source": "test"})
    assert info.metadata == {"source": "test"}
    assert sandbox.files.get_info(name).metadata == {"source": "test"}


def test_a_watched_folder_tells_what_happens_in_it(sandbox: Sandbox, name: str) -> None:
    sandbox.files.make_dir(f"{name}/below")
    handle = sandbox.files.watch_dir(name, recursive=True)
    sandbox.files.write(f"{name}/below/file", "x")
    sandbox.commands.run(f"rm {name}/below/file")
    seen: list[tuple[str, FilesystemEventType]] = []

    def removed() -> bool:
        seen.extend((event.name, event.type) for event in handle.get_new_events())
        return ("below/file", FilesystemEventType.REMOVE) in seen

    wait_for(removed, 10)
    kinds = [kind for event_name, kind in seen if event_name == "below/file"]
    assert kinds == [FilesystemEventType.CREATE, FilesystemEventType.WRITE, FilesystemEventType.REMOVE]
    assert all("upload" not in event_name for event_name, _ in seen)
    handle.stop()


async def test_the_asynchronous_client_watches_a_stream(async_sandbox: AsyncSandbox, name: str) -> None:
    import asyncio

    await async_sandbox.files.make_dir(name)
    seen = asyncio.Event()
    handle = await async_sandbox.files.watch_dir(name, on_event=lambda event: seen.set(), include_entry=True)
    await async_sandbox.files.write(f"{name}/file", "x")
    await asyncio.wait_for(seen.wait(), 10)
    await handle.stop()
    assert await async_sandbox.files.read(f"{name}/file") == "x"
