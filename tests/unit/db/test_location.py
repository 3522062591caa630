"""Where the embedded server's data and binaries go."""

from __future__ import annotations

from pathlib import Path

from db.location import SYSTEM_STATE, SYSTEM_USER, closed_directory, storage_location
from stack.settings import Settings


def test_an_ordinary_user_runs_it_as_itself_at_home(tmp_path: Path) -> None:
    found = storage_location(Settings(home=tmp_path), uid=1000)
    assert found.data == tmp_path / "postgres" / "data" and found.user is None and found.copied_to is None
    assert (found.bin / "postgres").exists()


def test_root_in_a_private_directory_moves_data_and_binaries_out_of_it(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    found = storage_location(Settings(home=private / "var"), uid=0)
    assert found.user == SYSTEM_USER and found.obstacle is not None
    assert found.base.is_relative_to(SYSTEM_STATE) and found.bin.is_relative_to(SYSTEM_STATE)


def test_two_homes_never_share_a_place(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    one, two = (storage_location(Settings(home=private / name), uid=0).base for name in ("one", "two"))
    assert one != two


def test_the_first_closed_directory_is_found(tmp_path: Path) -> None:
    # pytest's own directory is private: everything below it is closed by that one
    obstacle = closed_directory(tmp_path / "deeper")
    assert obstacle is not None and tmp_path.is_relative_to(obstacle)
    assert closed_directory(Path("/")) is None and closed_directory(Path("/not/there/yet")) is None
