"""What a model asks for is read from its entry, its profile and its folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models_node.catalogue import Catalogue, parse_catalogue
from models_node.planning.needs import Need, needs
from models_node.profiles import profiles

GIB = 2**30


def catalogue(*, arguments: str = "[]", environment: str = "{}", size: str = "") -> Catalogue:
    return parse_catalogue(
        f"""
        default = "a"
        limits = {{ memory_budget = "9 GiB" }}
        engine = {{ arguments = ["--dtype", "bfloat16", "--kv-cache-memory-bytes", "512M"] }}
        [[models]]
        id = "a"
        domain = "general"
        description = ""
        context_length = 10
        weights = "a"
        {size}
        engine_arguments = {arguments}
        environment = {environment}
        memory_estimate = "4 GiB"
        [[models]]
        id = "far"
        domain = "general"
        description = ""
        context_length = 10
        remote_url = "http://x"
        """,
        "x.toml",
    )


def only(given: Catalogue, home: Path) -> Need:
    [found] = needs(given, profiles()["arm-axion"], home)
    return found


def weights(home: Path, config: dict[str, object]) -> None:
    folder = home / "weights" / "a"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("model-1.safetensors", "model-2.safetensors"):
        (folder / name).write_bytes(b"0" * 1000)


def test_weights_that_are_not_here_are_as_large_as_the_catalogue_says(tmp_path: Path) -> None:
    found = only(catalogue(size='weights_size = "1 GiB"'), tmp_path)
    assert (found.weights_bytes, found.on_disk) == (GIB, False)
    assert found.engine_bytes == int(2.5 * GIB)
    assert not found.doubtful


def test_weights_nobody_knows_the_size_of_are_unknown(tmp_path: Path) -> None:
    found = only(catalogue(), tmp_path)
    assert (found.weights_bytes, found.engine_bytes, found.doubtful) == (None, None, False)


def test_weights_that_are_here_are_measured_on_disk(tmp_path: Path) -> None:
    weights(tmp_path, {"dtype": "bfloat16"})
    found = only(catalogue(size='weights_size = "1 GiB"'), tmp_path)
    assert (found.weights_bytes, found.on_disk) == (2000, True)


@pytest.mark.parametrize(
    ("config", "arguments", "size"),
    [
        ({"torch_dtype": "bfloat16"}, '["--dtype", "float32"]', 4000),
        ({"text_config": {"dtype": "float16"}}, '["--dtype=float32"]', 4000),
        ({"dtype": "float32"}, '["--dtype", "float32"]', 2000),
        ({}, '["--dtype", "float32"]', 2000),
    ],
)
def test_16_bit_weights_run_in_float32_take_twice_their_disk(
    tmp_path: Path, config: dict[str, object], arguments: str, size: int
) -> None:
    weights(tmp_path, config)
    assert only(catalogue(arguments=arguments), tmp_path).weights_bytes == size


@pytest.mark.parametrize(("environment", "size"), [("{}", 512 * 2**20), ('{ VLLM_CPU_KVCACHE_SPACE = "3" }', 3 * GIB)])
def test_the_kv_cache_is_what_the_engine_is_told_to_make(tmp_path: Path, environment: str, size: int) -> None:
    assert only(catalogue(environment=environment), tmp_path).kv_cache_bytes == size


def test_an_estimate_without_room_for_the_engine_is_doubtful(tmp_path: Path) -> None:
    assert only(catalogue(size='weights_size = "3 GiB"'), tmp_path).doubtful
