"""Coqui TTS, from weights in a folder. Runs in the environment `tts-coqui`, in the engine's own process.

A model is a folder `<weights>/coqui/NAME` with its weights, `config.json` and what the model needs besides (speakers,
languages, XTTS's `vocab.json`), as they are downloaded: paths in a config that mean another machine's disk are taken
to mean the file of that name here. `voices/` in it holds recordings to imitate, for models that can. Every model of the
folder is loaded.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import types
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import gcd
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from services_node.tts_server.engines.contract import Chunk, Damaged, Engine, Missing, Refused, Setup, Utterance, Voice
from services_node.tts_server.engines.coqui_models import CoquiModel, first_line, model_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

INSTALL = "./capibara6 install --tts coqui"
SEVERAL = "mul"  # BCP 47 for a voice of no one language
WEIGHTS = ("model.pth", "model_file.pth", "model_file.pth.tar", "checkpoint.pth")  # as Coqui's releases name them
FILES = (".pth", ".pt", ".json", ".npy")  # what a config may name and a model's folder hold


def load(setup: Setup) -> Engine:
    return Coqui(setup)


@dataclass(frozen=True, slots=True)
class ModelFolder:
    path: Path

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def weights(self) -> Path:
        """Raises Missing."""
        found = [self.path / name for name in WEIGHTS if (self.path / name).is_file()]
        if not found:
            raise Missing(f"{self.path / WEIGHTS[0]} is not there", f"put the model's weights in {self.path}")
        return found[0]

    @property
    def config(self) -> Path:
        """Raises Missing."""
        if not (self.path / "config.json").is_file():
            raise Missing(f"{self.path / 'config.json'} is not there", f"put the model's own in {self.path}")
        return self.path / "config.json"

    @property
    def language(self) -> str | None:
        """What the folder's name begins with, when that is a language: `es-css10` is Spanish."""
        first = re.match(r"([a-z]{2})(?=[-_.]|$)", self.name)
        return first[1] if first else None


def model_folders(weights: Path) -> list[ModelFolder]:
    """What lies in a folder, without loading it. Raises Missing, which says what to put where."""
    found = [ModelFolder(path) for path in sorted(weights.glob("[!.]*/"))]
    if not found:
        raise Missing(
            f"Coqui has no weights in {weights}",
            f"put a model's model.pth and config.json (and its speakers, languages, vocab.json, if it has some) in "
            f"{weights / 'es-css10'} or a folder of another name; the program itself: {INSTALL} "
            "(docs/speech-engines.md)",
        )
    for folder in found:
        _ = folder.weights, folder.config
    return found


class Coqui:
    """Every model of the folder, loaded. Voices are named MODEL, or MODEL-SPEAKER where a model has several."""

    mixes = False

    def __init__(self, setup: Setup) -> None:
        folders = model_folders(setup.folder / "coqui")
        _import_package(setup)
        loaded = [_load_model(folder, setup) for folder in folders]
        self.sample_rate = max(model.sample_rate for model in loaded)
        self._voices: dict[str, tuple[Voice, CoquiModel, str | None]] = {}
        for folder, model in zip(folders, loaded, strict=True):
            for speaker in model.speakers:
                name = folder.name if speaker is None else f"{folder.name}-{_slug(speaker)}"
                self._voices[name] = (Voice(name, _language(folder, model)), model, speaker)

    def voices(self) -> Sequence[Voice]:
        return [voice for voice, _, _ in self._voices.values()]

    def speak(self, utterance: Utterance) -> Iterator[Chunk]:
        """No word times. VITS and XTTS come in pieces; other architectures a sentence at a time."""
        asked = utterance.voice[0][0]
        if asked not in self._voices:
            raise Refused(f"Coqui's folder has no voice {asked!r}", f"one of: {', '.join(self._voices)}")
        if not any(character.isalnum() for character in utterance.text):
            raise Refused("there is nothing to pronounce in this text")
        _, model, speaker = self._voices[asked]
        pieces = model.speak(utterance.text, speaker, utterance.language, utterance.speed, utterance.hurry)
        for piece in _at_rate(pieces, model.sample_rate, self.sample_rate):
            yield Chunk(np.clip(piece, -1, 1).astype(np.float32))

    def stop(self, utterance: Utterance) -> None:
        return  # its pieces are short


def _at_rate(pieces: Iterator[NDArray[np.float32]], rate: int, wanted: int) -> Iterator[NDArray[np.float32]]:
    """Whole where it must be resampled: in pieces, their seams would be heard."""
    if rate == wanted:
        yield from pieces
        return
    from scipy.signal import resample_poly

    common = gcd(rate, wanted)
    yield resample_poly(np.concatenate(list(pieces)), wanted // common, rate // common).astype(np.float32)


def _import_package(setup: Setup) -> None:
    setup.cache.mkdir(parents=True, exist_ok=True)
    logging.getLogger("TTS").setLevel(logging.ERROR)  # its warnings quote the text that is spoken
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TTS_HOME": str(setup.cache)}
    os.environ |= {"NUMBA_CACHE_DIR": str(setup.cache / "numba"), "MPLCONFIGDIR": str(setup.cache / "matplotlib")}
    _stand_in_for_training()
    try:
        import torch
        import TTS.api  # noqa: F401
    except (ImportError, OSError) as error:  # OSError: torchaudio with its CUDA libraries
        raise Missing(f"the environment tts-coqui is not whole: {first_line(error)}", INSTALL) from error
    torch.set_num_threads(setup.threads)


def _stand_in_for_training() -> None:
    """Models import `monotonic_alignment_search` for their training alone, and it has no build for aarch64."""

    def maximum_path(*_: object, **__: object) -> None:
        raise RuntimeError("this installation speaks; it does not train models")

    stand_in = types.ModuleType("monotonic_alignment_search")
    stand_in.maximum_path = maximum_path  # type: ignore[attr-defined]
    sys.modules.setdefault("monotonic_alignment_search", stand_in)


def _load_model(folder: ModelFolder, setup: Setup) -> CoquiModel:
    """Raises Missing with the file that is not there, Damaged with one that is broken."""
    from TTS.api import TTS

    config = _local_config(folder, setup.cache)
    try:
        synthesizer = TTS(model_path=str(folder.weights), config_path=str(config), progress_bar=False)
    except FileNotFoundError as error:
        raise Missing(f"the model {folder.name} wants {first_line(error)}", f"put it in {folder.path}") from error
    except Exception as error:  # readers of weights and configs raise what they please for a broken file
        if "espeak" in str(error).lower():
            raise Missing(
                f"the model {folder.name} reads phonemes, which need espeak-ng on this machine",
                "install it (Debian: apt-get install espeak-ng), or take a model that reads letters",
            ) from error
        raise Damaged(
            f"the model {folder.name} can't be loaded from {folder.weights.name} and config.json in {folder.path}: "
            f"{first_line(error)}",
            "copy both again, of one and the same model",
        ) from error
    return model_of(synthesizer.synthesizer, folder.path)


def _local_config(folder: ModelFolder, cache: Path) -> Path:
    """The config with the places of the files that it names, written to the cache: the folder is left as it is."""
    from TTS.config import read_json_with_comments

    source = folder.config
    try:
        content = _placed(read_json_with_comments(str(source)), folder.path)
        if not isinstance(content, dict) or not isinstance(content.get("model"), str):
            raise Damaged(f"{source} does not name its `model`", f"put the model's own config.json in {folder.path}")
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise Damaged(f"{source} is not JSON: {first_line(error)}", "copy the file again") from error
    if content["model"] == "xtts" and not (folder.path / "vocab.json").is_file():
        raise Missing(f"{folder.path / 'vocab.json'} is not there", f"put XTTS's vocab.json in {folder.path}")
    local = cache / f"coqui-{folder.name}.json"
    local.write_text(json.dumps(content), encoding="utf-8")
    return local


def _placed(value: Any, folder: Path) -> Any:
    """A config's values, where each path whose file lies in the folder is that file's."""
    if isinstance(value, Mapping):
        return {key: _placed(inner, folder) for key, inner in value.items()}
    if isinstance(value, list):
        return [_placed(inner, folder) for inner in value]
    if isinstance(value, str) and value.endswith(FILES):
        here = folder / value.replace("\\", "/").rpartition("/")[2]
        return str(here) if here.is_file() else value
    return value


def _language(folder: ModelFolder, model: CoquiModel) -> str:
    if len(model.languages) > 1:
        return SEVERAL
    return folder.language or (model.languages[0] if model.languages else "") or SEVERAL


def _slug(speaker: str) -> str:
    return re.sub(r"\W+", "_", speaker.strip()).strip("_").lower() or "voice"
