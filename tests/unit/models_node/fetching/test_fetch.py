"""Weights are fetched whole or not at all, with the hub's own client against a server on loopback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from models_node.catalogue import Catalogue, ModelEntry, parse_catalogue
from models_node.errors import CatalogueError, FetchError
from models_node.fetching.fetch import chosen, fetch
from models_node.fetching.hub import Hub, escaped, wanted
from models_node.weights import MANIFEST
from stack.settings import REPOSITORY
from tests.unit.models_node.fetching.hub_on_loopback import COMMIT, HubOnLoopback, hub_on_loopback

WEIGHTS = os.urandom(3 * 2**20)
BIG = "model-00001-of-00002.safetensors"
FILES = {
    "config.json": b'{"model_type": "llama"}',
    "tokenizer.json": b"{}",
    BIG: WEIGHTS,
    "model-00002-of-00002.safetensors": b"second",
    "model.safetensors.index.json": b"{}",
    "LICENSE": b"free",
    "consolidated.safetensors": b"the same again",
    "pytorch_model.bin": b"pickled",
    "modeling_custom.py": b"code",
    "onnx/model.json": b"{}",
    "README.md": b"read me",
}
FETCHED = {
    "config.json", "tokenizer.json", BIG, "model-00002-of-00002.safetensors",
    "model.safetensors.index.json", "LICENSE",
}  # fmt: skip

CATALOGUE = """
default = "a"
limits = { memory_budget = "9 GiB" }
[[models]]
id = "a"
domain = "general"
description = ""
context_length = 10
weights = "tiny"
source = "makers/tiny-model"
memory_estimate = "4 GiB"
[[models]]
id = "packaged"
domain = "general"
description = ""
context_length = 10
weights = "package:smollm2-135m-instruct"
memory_estimate = "4 GiB"
[[models]]
id = "far"
domain = "general"
description = ""
context_length = 10
remote_url = "http://10.0.0.7:8000"
[[models]]
id = "own"
domain = "general"
description = ""
context_length = 10
weights = "own"
memory_estimate = "4 GiB"
"""


@pytest.fixture
def hub() -> Iterator[HubOnLoopback]:
    with hub_on_loopback("makers/tiny-model", dict(FILES)) as hub:
        yield hub


@pytest.fixture
def catalogue() -> Catalogue:
    return parse_catalogue(CATALOGUE, "x.toml")


@pytest.fixture
def entry(catalogue: Catalogue) -> ModelEntry:
    return catalogue.models[0]


@pytest.fixture(autouse=True)
def no_token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)


def bring(entry: ModelEntry, home: Path, hub: HubOnLoopback, token: str | None = None) -> list[str]:
    said: list[str] = []
    fetch(entry, home, Hub(hub.url, token), said.append)
    return said


def left(home: Path) -> set[str]:
    """What stands under the folder of weights, locks left out."""
    return {path.name for path in (home / "weights").iterdir() if not path.name.endswith(".lock")}


def test_only_weights_tokenizer_and_configuration_come_and_a_note_of_what_they_are(
    tmp_path: Path, hub: HubOnLoopback, entry: ModelEntry
) -> None:
    said = bring(entry, tmp_path, hub)
    folder = tmp_path / "weights" / "tiny"
    assert {path.name for path in folder.iterdir()} == FETCHED | {MANIFEST}
    assert (folder / BIG).read_bytes() == WEIGHTS
    note = json.loads((folder / MANIFEST).read_text())
    assert (note["source"], note["commit"]) == ("makers/tiny-model", COMMIT)
    assert left(tmp_path) == {"tiny"}
    assert said == [f"a: weights are ready in {folder}"]


def test_weights_that_are_there_are_left_alone_without_asking_the_hub(
    tmp_path: Path, hub: HubOnLoopback, entry: ModelEntry
) -> None:
    bring(entry, tmp_path, hub)
    hub.asked.clear()
    assert bring(entry, tmp_path, hub) == [f"a: weights are in {tmp_path}/weights/tiny already"]
    assert not hub.asked


def test_a_connection_that_breaks_goes_on_where_it_stopped(
    tmp_path: Path, hub: HubOnLoopback, entry: ModelEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 2**16)
    hub.cut = BIG
    bring(entry, tmp_path, hub)
    assert hub.downloads(BIG) == [None, f"bytes={len(WEIGHTS) // 2}-"]
    assert (tmp_path / "weights" / "tiny" / BIG).read_bytes() == WEIGHTS


def test_a_download_given_up_is_no_weights_and_the_next_try_keeps_the_files_that_came(
    tmp_path: Path, hub: HubOnLoopback, entry: ModelEntry
) -> None:
    with pytest.raises(FetchError):
        hub.missing = BIG
        bring(entry, tmp_path, hub)
    [temporary] = left(tmp_path)
    assert temporary == f".tiny.fetching-{COMMIT[:12]}"
    killed = tmp_path / "weights" / temporary / ".cache" / "huggingface" / "download" / "x.0123.incomplete"
    killed.write_bytes(b"what a killed try leaves, and no other goes on with")
    hub.missing = None
    came = {name for name in FETCHED if (tmp_path / "weights" / temporary / name).exists()}
    hub.asked.clear()
    bring(entry, tmp_path, hub)
    assert hub.downloads(BIG) == [None]
    assert not [name for name in came if hub.downloads(name)]
    assert left(tmp_path) == {"tiny"}


def test_a_client_that_contents_itself_with_half_is_not_believed(
    tmp_path: Path, hub: HubOnLoopback, entry: ModelEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    def half(self: Hub, listing: object, folder: Path) -> None:
        (folder / "config.json").write_bytes(FILES["config.json"])

    monkeypatch.setattr(Hub, "download", half)
    with pytest.raises(FetchError, match="came incomplete, 0 of"):
        bring(entry, tmp_path, hub)
    assert not (tmp_path / "weights" / "tiny").exists()


def test_damaged_weights_are_thrown_away(tmp_path: Path, hub: HubOnLoopback, entry: ModelEntry) -> None:
    hub.damaged = BIG
    with pytest.raises(FetchError, match="came damaged"):
        bring(entry, tmp_path, hub)
    hub.damaged = None
    bring(entry, tmp_path, hub)
    assert (tmp_path / "weights" / "tiny" / BIG).read_bytes() == WEIGHTS


def test_nothing_of_another_commit_is_mixed_in(tmp_path: Path, hub: HubOnLoopback, entry: ModelEntry) -> None:
    older = tmp_path / "weights" / ".tiny.fetching-0123456789ab"
    older.mkdir(parents=True)
    (older / "model-00009-of-00009.safetensors").write_bytes(b"old")
    bring(entry, tmp_path, hub)
    assert left(tmp_path) == {"tiny"}
    assert not (tmp_path / "weights" / "tiny" / "model-00009-of-00009.safetensors").exists()


def test_a_gated_model_says_what_to_do_and_comes_with_the_token(
    tmp_path: Path, hub: HubOnLoopback, entry: ModelEntry
) -> None:
    hub.token = "right"
    for token in (None, "wrong"):
        with pytest.raises(FetchError, match="makers/tiny-model is gated") as caught:
            bring(entry, tmp_path, hub, token)
        assert "set HF_TOKEN" in caught.value.mend
    bring(entry, tmp_path, hub, "right")
    assert left(tmp_path) == {"tiny"}


def test_a_source_or_revision_the_hub_does_not_have_is_named(tmp_path: Path, hub: HubOnLoopback) -> None:
    def given(change: tuple[str, str]) -> ModelEntry:
        return parse_catalogue(CATALOGUE.replace(*change), "x.toml").models[0]

    with pytest.raises(FetchError, match="shows no 'makers/other'"):
        bring(given(("tiny-model", "other")), tmp_path, hub)
    with pytest.raises(FetchError, match="has no revision 'v9'"):
        bring(given(('"makers/tiny-model"', '"makers/tiny-model"\nrevision = "v9"')), tmp_path, hub)


def test_a_source_without_safetensors_is_refused(tmp_path: Path, hub: HubOnLoopback, entry: ModelEntry) -> None:
    hub.files = {"config.json": b"{}", "pytorch_model.bin": b""}
    with pytest.raises(FetchError, match=r"holds no config\.json and safetensors"):
        bring(entry, tmp_path, hub)
    assert left(tmp_path) == set()


def test_disk_space_is_checked_before_anything_comes(
    tmp_path: Path, hub: HubOnLoopback, entry: ModelEntry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=2**30))
    with pytest.raises(FetchError, match=r"no disk space: .* has 1\.0 GiB free, makers/tiny-model still takes 0\.0"):
        bring(entry, tmp_path, hub)
    assert not hub.downloads("config.json")


def test_a_folder_of_something_else_is_left_as_it_is(tmp_path: Path, hub: HubOnLoopback, entry: ModelEntry) -> None:
    (tmp_path / "weights" / "tiny").mkdir(parents=True)
    (tmp_path / "weights" / "tiny" / "notes.txt").write_text("mine")
    with pytest.raises(FetchError, match="holds something, but no weights"):
        bring(entry, tmp_path, hub)
    assert (tmp_path / "weights" / "tiny" / "notes.txt").read_text() == "mine"


def test_one_fetch_of_a_folder_at_a_time(tmp_path: Path, hub: HubOnLoopback, entry: ModelEntry) -> None:
    class Busy(Hub):
        def listing(self, source: str, revision: str | None) -> object:  # type: ignore[override]
            with pytest.raises(FetchError, match="is being fetched already"):
                bring(entry, tmp_path, hub)
            raise FetchError("enough", "")

    with pytest.raises(FetchError, match="enough"):
        fetch(entry, tmp_path, Busy(hub.url), lambda _: None)


@pytest.mark.parametrize(
    ("model", "told"),
    [
        ("packaged", "packaged uses packaged weights"),
        ("far", r"far runs on another machine \(http://10\.0\.0\.7:8000\)"),
        ("own", "own names no `source`"),
        ("none", "no model is called 'none'"),
    ],
)
def test_what_cannot_be_fetched_is_told(catalogue: Catalogue, model: str, told: str) -> None:
    with pytest.raises(CatalogueError, match=told):
        chosen(catalogue, ["a", model])


def test_without_names_every_model_with_a_source_is_fetched(catalogue: Catalogue) -> None:
    assert [entry.id for entry in chosen(catalogue, [])] == ["a"]


def test_names_are_taken_as_they_are() -> None:
    assert escaped("a[1]*.json") == "a[[]1][*].json"
    assert wanted("chat_template.jinja")
    assert not wanted("original/model.safetensors")


def command(tmp_path: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "catalogue.toml"
    file.write_text(CATALOGUE)
    given = {"PYTHONPATH": str(REPOSITORY), "CAPIBARA6_HOME": str(tmp_path), **variables}
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "CAPIBARA6_"))}
    return subprocess.run(
        [sys.executable, "-m", "models_node", "models", "fetch", "--catalogue", str(file), "a"],
        env={**kept, **given}, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip


def test_the_command_fetches_from_the_hub_the_environment_names(tmp_path: Path, hub: HubOnLoopback) -> None:
    hub.token = "right"
    done = command(tmp_path, HF_ENDPOINT=hub.url, HF_TOKEN="right")
    assert done.returncode == 0, done.stderr
    assert "6 files, 0.00 GB of makers/tiny-model at c0ffeec0ffee" in done.stderr
    assert (tmp_path / "weights" / "tiny" / "config.json").is_file()


@pytest.mark.parametrize(
    ("variables", "told"),
    [
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "the hub cannot be reached for makers/tiny-model (ConnectError)"),
        ({"HF_HUB_OFFLINE": "1"}, "HF_HUB_OFFLINE forbids downloads"),
    ],
)
def test_no_network_is_one_line_and_the_status_of_a_failed_installation(
    tmp_path: Path, variables: dict[str, str], told: str
) -> None:
    done = command(tmp_path, **variables)
    assert done.returncode == 4
    assert done.stderr.startswith(f"capibara6: {told}\n  mend: ")
    assert done.stderr.count("\n") == 2
