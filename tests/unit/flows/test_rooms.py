"""What the rooms say of themselves."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import flows
import flows.tools

HERE = Path(flows.__file__).parent


def test_prefect_is_imported_by_the_modules_that_the_room_names() -> None:
    importing = {
        path.stem for path in HERE.rglob("*.py") if re.search(r"^\s*(?:from|import) prefect\b", path.read_text(), re.M)
    }
    assert importing == set(re.findall(r"`(\w+)`", (flows.__doc__ or "").partition("Prefect is imported by")[2]))


@pytest.mark.parametrize("room", [flows, flows.tools])
def test_every_module_that_a_room_names_is_there(room: object) -> None:
    lives = re.search(r"Lives here:(.*?)Never here:", room.__doc__ or "", re.DOTALL)
    folder = Path(room.__file__).parent  # type: ignore[attr-defined]
    modules = {path.stem for path in folder.iterdir()}
    assert lives is not None and set(re.findall(r"`(\w+)`", lives[1])) <= modules
