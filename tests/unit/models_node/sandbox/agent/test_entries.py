from __future__ import annotations

import os
from pathlib import Path

from e2b.envd.filesystem.filesystem_pb import ListDirResponse

from models_node.sandbox.inside.agent.entries import entry_info


def test_a_name_that_is_not_utf_8_can_be_told(tmp_path: Path) -> None:
    """A file so named once failed every listing of its folder."""
    for name in (b"\xff", b"link\xfe"):
        path = Path(os.fsdecode(bytes(tmp_path) + b"/" + name))
        path.symlink_to(os.fsdecode(b"to\xfd")) if name.startswith(b"link") else path.touch()
    entries = [entry_info(path) for path in sorted(tmp_path.iterdir())]
    assert ListDirResponse(entries=entries).to_binary()
    assert sorted(entry.name for entry in entries) == ["link\N{REPLACEMENT CHARACTER}", "\N{REPLACEMENT CHARACTER}"]
    assert {entry.symlink_target for entry in entries} >= {"to\N{REPLACEMENT CHARACTER}"}
    for entry in entries:
        entry.path.encode("utf-8")
