"""Hardware profiles: what engines are started with on which machine.

The data, with its reasons, is `profiles.toml`; here it is read, and one is chosen by detection or by name. Nothing
here starts anything.
"""

from __future__ import annotations

import platform
import tomllib
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from stack.errors import ConfigurationError
from stack.settings import Settings

DATA = Path(__file__).with_name("profiles.toml")
LIBRARY_FOLDERS = ("/usr/local/lib", "/usr/lib64", "/usr/lib", "/lib64", "/lib")


class Profile(BaseModel):
    """One profile. arguments as `vllm serve` takes them; preload: names of libraries, the first found is taken."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    arguments: tuple[str, ...] = ()
    environment: dict[str, str] = Field(default_factory=dict)
    preload: tuple[str, ...] = ()
    fork: bool = False


def profiles() -> dict[str, Profile]:
    """Every profile, by its name."""
    raw = tomllib.loads(DATA.read_text(encoding="utf-8"))
    return {name: Profile(name=name, **fields) for name, fields in raw.items()}


def detected(machine: str, *, gpu: bool) -> str:
    """The profile's name for this machine: `platform.machine()`, and whether the models environment is a GPU's."""
    if gpu:
        return "cuda"
    return "arm-axion" if machine in ("aarch64", "arm64") else "x86-cpu"


def choose(settings: Settings) -> Profile:
    """The settings' profile, or the detected one. Raises ConfigurationError when the settings name an unknown one."""
    known = profiles()
    name = settings.hardware_profile or detected(platform.machine(), gpu=settings.gpu)
    if name not in known:
        raise ConfigurationError(
            f"CAPIBARA6_HARDWARE_PROFILE: there is no profile {name!r}", f"one of: {', '.join(sorted(known))}"
        )
    return known[name]


def preloaded(names: Iterable[str], folders: Iterable[Path] | None = None) -> Path | None:
    """The first of the libraries that is on this machine, or None. folders: where to look instead of the system's."""
    if folders is None:
        folders = [
            Path(base) / triplet for base in LIBRARY_FOLDERS for triplet in ("", f"{platform.machine()}-linux-gnu")
        ]
    folders = list(folders)
    return next((path for name in names for folder in folders if (path := folder / name).is_file()), None)
