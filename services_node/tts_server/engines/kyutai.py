"""Kyutai's Pocket TTS, from weights in a folder. Runs in the environment `tts-kyutai`, in the engine's own process.

A model is a folder with `model.safetensors`, `tokenizer.json` and `voices/`, named as the package names its configs
(`spanish`, `english_2026-09`, …) or with a config of its own (one `*.yaml`, of such a name). `<weights>/kyutai` may be
that folder itself, or hold several. Nothing is fetched: `hf://` addresses in a config mean the files of that name here.
"""

from __future__ import annotations

import hashlib
import logging
import os
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from services_node.tts_server.engines.contract import Chunk, Damaged, Engine, Missing, Refused, Setup, Utterance, Voice

INSTALL = "./capibara6 install --tts kyutai"
LANGUAGES = {
    "english": "en",
    "spanish": "es",
    "french": "fr",
    "german": "de",
    "italian": "it",
    "portuguese": "pt",
    "dutch": "nl",
}
WEIGHTS = "model.safetensors"
STATES = (".safetensors",)  # voices that are ready to use
RECORDINGS = (".wav", ".flac", ".mp3", ".ogg")  # voices to imitate: seconds of work, once
KEPT_VOICES = 8  # of 6 MB or so each, at the released models' size


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """name: `spanish`, …: the package's config of that name is used where config is None."""

    path: Path
    name: str
    config: Path | None

    @property
    def language(self) -> str:
        return LANGUAGES[self.name.split("_")[0]]


def load(setup: Setup) -> Engine:
    return Kyutai(setup)


def model_folders(weights: Path) -> list[ModelFolder]:
    """What lies in a folder, without loading it. Raises Missing, which says what to put where."""
    candidates = [weights, *sorted(path for path in weights.glob("*/") if path.name != "voices")]
    found = [_model_folder(path) for path in candidates if any(path.glob("*.yaml")) or any(path.glob("*.safetensors"))]
    if not found:
        raise Missing(f"Kyutai's Pocket TTS has no weights in {weights}", _what_to_put(weights))
    return found


def _model_folder(path: Path) -> ModelFolder:
    configs = sorted(path.glob("*.yaml"))
    if len(configs) > 1:
        names = ", ".join(config.name for config in configs)
        raise Missing(f"{path} has several configs: {names}", f"one folder for each: {path.parent}/NAME/NAME.yaml")
    name = configs[0].stem if configs else path.name
    if name.split("_")[0] not in LANGUAGES:
        raise Missing(
            f"the name {name!r} in {path} does not tell the model's language",
            f"name the {'config' if configs else 'folder'} as the package does: {', '.join(LANGUAGES)}, or spanish_24l",
        )
    return ModelFolder(path, name, configs[0] if configs else None)


def _what_to_put(weights: Path) -> str:
    return (
        f"put model.safetensors and tokenizer.json of a language of huggingface.co/kyutai/pocket-tts in "
        f"{weights / 'spanish'} (or english, …) and voices (*.safetensors, *.wav) in {weights / 'spanish' / 'voices'}; "
        f"the program itself: {INSTALL} (docs/speech-engines.md)"
    )


class Kyutai:
    """Every model of the folder, loaded; the voices of each."""

    mixes = False

    def __init__(self, setup: Setup) -> None:
        folders = model_folders(setup.folder / "kyutai")
        _import_package(setup)
        self._models = [_Model(folder, setup) for folder in folders]
        self.sample_rate = self._models[0].sample_rate
        if any(model.sample_rate != self.sample_rate for model in self._models):
            raise Missing("the models in this folder have different sample rates", "keep those of one rate")

    def voices(self) -> Sequence[Voice]:
        """Each name once, though several models may have a voice of it."""
        return list({voice.id: voice for model in reversed(self._models) for voice in model.voices()}.values())

    def speak(self, utterance: Utterance) -> Iterator[Chunk]:
        """A voice of several models speaks with the one of the utterance's language. No word times."""
        voice = utterance.voice[0][0]
        having = [model for model in self._models if voice in model.files]
        if not having:
            known = ", ".join(voice.id for voice in self.voices())
            raise Refused(f"Kyutai's folder has no voice {voice!r}", f"one of: {known}")
        if utterance.speed != 1:
            raise Refused(f"Kyutai's voices have one speed, not {utterance.speed:g}", "ask for speed 1, or for kokoro")
        fitting = [model for model in having if model.language == utterance.language]
        return (fitting or having)[0].speak(voice, utterance.text)

    def stop(self, utterance: Utterance) -> None:
        return  # its pieces are short


class _Model:
    """One loaded model. It speaks one utterance at a time: the package says that it is not thread-safe."""

    def __init__(self, folder: ModelFolder, setup: Setup) -> None:
        self.language = folder.language
        self.files = _voice_files(folder.path / "voices")
        self._cache = setup.cache
        self._turn = threading.Lock()
        self._state = lru_cache(maxsize=KEPT_VOICES)(self._read_voice)
        config, weights = _local_config(folder, setup.cache)
        self._mark = _mark_of(weights)
        self._model = _load_weights(config, weights)
        self.sample_rate: int = self._model.sample_rate

    def voices(self) -> list[Voice]:
        return [Voice(name, self.language) for name in self.files]

    def speak(self, voice: str, text: str) -> Iterator[Chunk]:
        if not any(character.isalnum() for character in text):
            raise Refused("there is nothing to pronounce in this text")
        with self._turn:
            state = self._state(voice)
            stop = threading.Event()
            pieces = self._model.generate_audio_stream(state, text, stop=stop)
            try:
                for piece in pieces:
                    yield Chunk(np.clip(piece.numpy(), -1, 1).astype(np.float32))
            finally:
                stop.set()
                for _ in pieces:  # its threads end with it, and nobody else's turn comes before
                    pass

    def _read_voice(self, voice: str) -> Any:
        path = self.files[voice]
        if path.suffix in RECORDINGS:
            path = self._imitate(path)
        try:
            state = self._model.get_state_for_audio_prompt(path)
        except Exception as error:
            raise Damaged(f"the voice {path.name} can't be read: {_first_line(error)}", "copy it again") from error
        self._check_shape(path, state)
        return state

    def _check_shape(self, path: Path, state: Any) -> None:
        """A voice of another model would only fail in the middle of a sentence."""
        from pocket_tts.modules.stateful_module import init_states

        wanted = init_states(self._model.flow_lm, batch_size=1, sequence_length=1)
        fits = wanted.keys() == state.keys() and all(
            "cache" in state[module] and _fits(wanted[module]["cache"], state[module]["cache"]) for module in wanted
        )
        if not fits:
            raise Damaged(f"the voice {path.name} was made for another model than {self.language}'s", "remove it")

    def _imitate(self, recording: Path) -> Path:
        """The voice made from a recording, kept in the cache. Its first thirty seconds count."""
        from pocket_tts.models.model_state import export_model_state

        if not bool(self._model.flow_lm.speaker_proj_weight.any()):
            raise Refused(
                f"{recording.name} can't be imitated: these weights come without voice cloning",
                "take the weights of huggingface.co/kyutai/pocket-tts, or a voice in *.safetensors",
            )
        key = hashlib.sha256(recording.read_bytes() + self._mark).hexdigest()
        kept = self._cache / f"kyutai-voice-{key[:32]}.safetensors"
        if not kept.exists():
            try:
                state = self._model.get_state_for_audio_prompt(recording, truncate=True)
            except Exception as error:
                raise Damaged(
                    f"the recording {recording.name} can't be imitated: {_first_line(error)}", "take another"
                ) from error
            half = kept.with_suffix(f".{os.getpid()}.part")
            export_model_state(state, half)
            half.replace(kept)
        return kept


def _import_package(setup: Setup) -> None:
    setup.cache.mkdir(parents=True, exist_ok=True)
    logging.getLogger("pocket_tts").setLevel(logging.ERROR)  # its warnings quote the text that is spoken
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import pocket_tts  # noqa: F401
        import torch
    except ImportError as error:
        raise Missing(f"the environment tts-kyutai is not whole: {error}", INSTALL) from error
    torch.set_num_threads(max(1, setup.threads // 2))  # it generates in one thread while another makes the sound


def _voice_files(folder: Path) -> dict[str, Path]:
    """A voice that is ready wins over a recording of the same name."""
    files = sorted(folder.glob("*"), key=lambda path: (path.suffix in STATES, path.name))
    found = {path.stem: path for path in files if path.suffix in STATES + RECORDINGS}
    if not found:
        raise Missing(
            f"Kyutai's Pocket TTS has no voice in {folder}",
            f"put one there: NAME.safetensors of the model's embeddings/, or a recording NAME.wav ({INSTALL})",
        )
    return dict(sorted(found.items()))


def _local_config(folder: ModelFolder, cache: Path) -> tuple[Path, Path]:
    """The config with every file's place in it, written to the cache; and the weights. Raises Missing, Damaged."""
    import yaml
    from pocket_tts.utils.config import CONFIGS_DIR

    source = folder.config or CONFIGS_DIR / f"{folder.name}.yaml"
    if not source.exists():
        raise Missing(f"pocket-tts has no config {source.name}", f"put {source.name} in {folder.path}")
    try:
        content = yaml.safe_load(source.read_text(encoding="utf-8"))
        weights = _here(folder, content["flow_lm"].get("weights_path") or content.get("weights_path") or WEIGHTS)
        content["flow_lm"]["lookup_table"]["tokenizer_path"] = str(
            _here(folder, content["flow_lm"]["lookup_table"]["tokenizer_path"])
        )
        for part in (content["flow_lm"], content["mimi"]):
            if part.get("weights_path"):
                part["weights_path"] = str(_here(folder, part["weights_path"]))
    except (yaml.YAMLError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as error:
        raise Damaged(f"{source} is no config of Pocket TTS: {_first_line(error)}", "take the package's own") from error
    if not content["flow_lm"].get("weights_path"):
        content["weights_path"] = str(weights)
    content["weights_path_without_voice_cloning"] = None
    local = cache / f"kyutai-{folder.name}.yaml"
    local.write_text(yaml.safe_dump(content), encoding="utf-8")
    return local, weights


def _here(folder: ModelFolder, said: str) -> Path:
    """The file that a config names, in its folder: `hf://owner/repository/some/file@revision` is `file`."""
    name = said.removeprefix("hf://").split("@")[0].rpartition("/")[2] if "://" in said else said
    path = folder.path / name  # an absolute path stays what it is
    if not path.is_file():
        raise Missing(f"{path} is not there", f"put it there: {said} ({_what_to_put(folder.path.parent)})")
    return path


def _load_weights(config: Path, weights: Path) -> Any:
    import pydantic
    from pocket_tts import TTSModel

    try:
        return TTSModel.load_model(config=config, quantize=True)
    except pydantic.ValidationError as error:
        raise Damaged(f"the config of {weights} does not fit pocket-tts: {_first_line(error)}", INSTALL) from error
    except Exception as error:  # its readers raise what they please for a broken file
        raise Damaged(
            f"the weights {weights.name} in {weights.parent} can't be loaded: {_first_line(error)}",
            "copy the file again, and see that tokenizer.json and the config are of the same model",
        ) from error


def _mark_of(weights: Path) -> bytes:
    """Changes when the weights do, without reading them."""
    status = weights.stat()
    return f"{status.st_size} {status.st_mtime_ns}".encode()


def _fits(wanted: Any, given: Any) -> bool:
    """Equal shapes but for the length of what was heard (the third axis of a cache of keys and values)."""
    one, other = list(wanted.shape), list(given.shape)
    return len(one) == len(other) and [*one[:2], *one[3:]] == [*other[:2], *other[3:]]


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]
