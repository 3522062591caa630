"""What each model of a catalogue asks for: weights, KV cache, the engine around them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from models_node.catalogue import Catalogue, ModelEntry, missing_weights, weights_path
from models_node.profiles import Profile
from models_node.residency.measuring import kv_cache_bytes

# What vLLM's processes held beside weights and KV cache (API server 0.6, engine core 0.5, worker 0.7 GB): measured with
# a model of 0.14 B parameters on two cores, so it is the least there is. An estimate with less room is a wrong one.
LEAST_ENGINE_BYTES = 1_800_000_000
HALF_DTYPES = ("bfloat16", "float16", "half")


@dataclass(frozen=True, slots=True)
class Need:
    """One local model, in bytes. weights_bytes: in memory; None where neither its folder nor its entry says.

    on_disk: whether its weights are here. kv_cache_bytes: what its engine is told to make; 0 where vLLM decides.
    """

    model: str
    estimate_bytes: int
    weights_bytes: int | None
    on_disk: bool
    kv_cache_bytes: int
    pinned: bool

    @property
    def engine_bytes(self) -> int | None:
        """What the estimate leaves for the engine itself; below zero where it is too small for what is known."""
        if self.weights_bytes is None:
            return None
        return self.estimate_bytes - self.weights_bytes - self.kv_cache_bytes

    @property
    def doubtful(self) -> bool:
        """The estimate leaves the engine less than any engine was seen to take."""
        return self.engine_bytes is not None and self.engine_bytes < LEAST_ENGINE_BYTES


def needs(catalogue: Catalogue, profile: Profile, home: Path) -> list[Need]:
    """Of every local model, in the catalogue's order. home: the folder weights are under."""
    return [need(entry, catalogue, profile, home) for entry in catalogue.models if not entry.remote]


def need(entry: ModelEntry, catalogue: Catalogue, profile: Profile, home: Path) -> Need:
    arguments = (*profile.arguments, *catalogue.engine.arguments, *entry.engine_arguments)
    environment = {**profile.environment, **catalogue.engine.environment, **entry.environment}
    folder = weights_path(entry, home)
    here = folder is not None and missing_weights(entry, home) is None
    weights = entry.weights_size
    if here and folder is not None:
        weights = loaded_bytes(folder, arguments) or weights
    kv_cache = kv_cache_bytes(arguments, environment)
    return Need(entry.id, entry.memory_bytes, weights, here, kv_cache, entry.pinned)


def loaded_bytes(folder: Path, arguments: Sequence[str]) -> int:
    """What the folder's safetensors take once loaded: as on disk, or twice that where 16-bit weights are run in
    float32. 0 when there are none."""
    on_disk = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    wider = dtype(arguments) in ("float32", "float") and stored_dtype(folder) in HALF_DTYPES
    return on_disk * 2 if wider else on_disk


def dtype(arguments: Sequence[str]) -> str:
    """What `--dtype` says last (vLLM takes the last); empty when nothing."""
    said = ""
    for index, argument in enumerate(arguments):
        name, equals, given = argument.partition("=")
        if name == "--dtype":
            said = given if equals else (arguments[index + 1] if index + 1 < len(arguments) else "")
    return said


def stored_dtype(folder: Path) -> str:
    """What config.json says the weights are stored as; empty when it does not."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    if not isinstance(config, dict):
        return ""
    inner = config.get("text_config")
    stored = config.get("dtype") or config.get("torch_dtype") or (inner.get("dtype") if isinstance(inner, dict) else "")
    return str(stored or "")
