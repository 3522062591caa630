"""The catalogue is read strictly, and says what is wrong where."""

from __future__ import annotations

from pathlib import Path

import pytest

from models_node.catalogue import (
    ModelEntry,
    missing_weights,
    parse_catalogue,
    parse_size,
    read_catalogue,
    weights_path,
)
from models_node.errors import CatalogueError

ROOM = Path(__file__).parents[3] / "models_node"
IDS = {"phi4_fast", "mistral_balanced", "qwen_coder", "gemma3_multimodal", "aya_expanse_multilingual"}

GOOD = """
default = "a"
[limits]
memory_budget = "4 GiB"
[[models]]
id = "a"
domain = "general"
description = "A"
context_length = 2048
weights = "package:smollm2-135m-instruct"
memory_estimate = "2.5 GiB"
"""


@pytest.mark.parametrize("name", ["catalog.local.toml", "catalog.production.toml"])
def test_the_shipped_catalogues_name_the_teams_five_models(name: str) -> None:
    catalogue = read_catalogue(ROOM / name)
    assert {entry.id for entry in catalogue.models if not entry.capabilities.embeddings} == IDS
    assert all(entry.memory_bytes <= catalogue.limits.memory_budget for entry in catalogue.models)


def test_two_local_engines_fit_and_a_third_does_not() -> None:
    catalogue = read_catalogue(ROOM / "catalog.local.toml")
    budget = catalogue.limits.memory_budget
    assert budget == int(5.25 * 2**30)
    for entry in (entry for entry in catalogue.models if not entry.capabilities.embeddings):
        assert 2 * entry.memory_bytes <= budget < 3 * entry.memory_bytes


@pytest.mark.parametrize(
    ("text", "size"), [("2.5 GiB", 2_684_354_560), ("1GB", 10**9), ("512 MiB", 2**29), (17, 17), ("3 b", 3)]
)
def test_sizes_are_bytes_or_text(text: object, size: int) -> None:
    assert parse_size(text) == size


def test_a_good_catalogue_is_read() -> None:
    catalogue = parse_catalogue(GOOD, "x.toml")
    entry = catalogue.get("a")
    assert entry is not None
    assert entry.memory_bytes == 2_684_354_560
    assert not entry.remote
    assert catalogue.get("b") is None


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (("memory_estimate", "memory_estimat"), "models[0].memory_estimat (a): Extra inputs"),
        (('"2.5 GiB"', '"much"'), "models[0].memory_estimate (a): 'much' is not a size"),
        (('"2.5 GiB"', "0"), "models[0].memory_estimate (a): Input should be greater than 0"),
        (('context_length = 2048', 'context_length = "2048"'), "models[0].context_length (a): Input should be a"),
        (('"package:smollm2-135m-instruct"', '"package:other"'), "no packaged weights 'package:other'"),
        (('default = "a"', 'default = "b"'), "default: 'b' is not one of the models (a)"),
        (('id = "a"', 'id = "A b"'), "models[0].id (A b): String should match"),
        (('memory_estimate = "2.5 GiB"', ""), "`memory_estimate` is needed beside `weights`"),
        (('weights = ', 'remote_url = "http://x"\nweights = '), "exactly one of `weights` and `remote_url`"),
        (('weights = ', 'source = "makers/model"\nweights = '), "`source` goes with `weights` that name a folder"),
        (('"package:smollm2-135m-instruct"', '"a"\nrevision = "main"'), "`revision` goes with `source`"),
        (('"package:smollm2-135m-instruct"', '"a"\nsource = "https://x/y"'), "models[0].source (a): String should"),
        (("[limits]", "[limits"), "not TOML"),
        (('domain = "general"', 'domain = "law"'), "models[0].domain (a): Input should be"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_file_and_field(change: tuple[str, str], told: str) -> None:
    with pytest.raises(CatalogueError) as caught:
        parse_catalogue(GOOD.replace(*change), "x.toml")
    assert str(caught.value).startswith("x.toml: ")
    assert told in str(caught.value)


def test_the_same_id_twice_is_refused() -> None:
    with pytest.raises(CatalogueError, match="the same id twice: a"):
        parse_catalogue(GOOD + GOOD[GOOD.index("[[models]]") :], "x.toml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CatalogueError, match=r"none\.toml: cannot be read"):
        read_catalogue(tmp_path / "none.toml")


def test_weights_are_found_under_home_or_where_an_absolute_path_says(tmp_path: Path) -> None:
    def entry(weights: str) -> ModelEntry:
        return ModelEntry(
            id="a", domain="general", description="", context_length=1, weights=weights, memory_estimate=1
        )

    assert weights_path(entry("package:smollm2-135m-instruct"), tmp_path) == tmp_path / "weights/SmolLM2-135M-Instruct"
    assert weights_path(entry("phi"), tmp_path) == tmp_path / "weights/phi"
    assert weights_path(entry("/models/phi"), tmp_path) == Path("/models/phi")
    told = str(missing_weights(entry("phi"), tmp_path))
    assert told.startswith(f"no weights in {tmp_path}/weights/phi: ")
    assert "run `./capibara6 models fetch a`" in told
    (tmp_path / "weights/phi").mkdir(parents=True)
    (tmp_path / "weights/phi/config.json").write_text("{}")
    assert missing_weights(entry("phi"), tmp_path) is None


def test_weights_inside_a_package_are_served_where_they_are(tmp_path: Path) -> None:
    entry = parse_catalogue(GOOD.replace("smollm2-135m-instruct", "all-minilm-l6-v2"), "x.toml").get("a")
    assert entry is not None
    folder = weights_path(entry, tmp_path)
    assert folder is not None and (folder / "model.safetensors").is_file()
    assert missing_weights(entry, tmp_path) is None
