"""How models of Coqui speak: VITS and XTTS in pieces, others a sentence at a time.

A model says one thing at a time: its length scale and decoder are its own, and the package promises nothing of threads.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from services_node.tts_server.engines.contract import Damaged, Missing, Refused

if TYPE_CHECKING:
    from numpy.typing import NDArray

RECORDINGS = (".wav", ".flac", ".mp3", ".ogg")
FRAMES_SECONDS = 1.5  # of audio that VITS's decoder makes at once
HURRY_SECONDS = 0.4  # the same, for a first piece that somebody waits for
SEEN_FRAMES = 16  # what VITS's decoder looks at on either side of a frame: about 13 of them, measured in its kernels
KEPT_VOICES = 8


class CoquiModel(Protocol):
    """speakers: names to speak with; None where the model has but one. languages: may be empty."""

    sample_rate: int
    speakers: Sequence[str | None]
    languages: Sequence[str]

    def speak(
        self, text: str, speaker: str | None, language: str, speed: float, hurry: bool
    ) -> Iterator[NDArray[np.float32]]: ...


def model_of(synthesizer: Any, folder: Path) -> CoquiModel:
    """The synthesizer's way to speak. Raises Missing where it has none, or no voice to speak with."""
    architecture = synthesizer.tts_config.model
    if architecture == "xtts":
        return Xtts(synthesizer, folder)
    if not hasattr(synthesizer.tts_model.tokenizer, "text_to_ids"):
        raise Missing(
            f"the model {folder.name} is a {architecture}, which is not spoken with", "take a VITS or an XTTS"
        )
    return Vits(synthesizer, folder) if architecture == "vits" else Whole(synthesizer, folder)


class Whole:
    """Any model: a sentence is one piece. A vocoder of its own is not looked for: Griffin-Lim makes the sound then."""

    def __init__(self, synthesizer: Any, folder: Path) -> None:
        self._synthesizer = synthesizer
        self._model = synthesizer.tts_model
        self._turn = threading.Lock()
        self.sample_rate = int(synthesizer.output_sample_rate)
        self.languages: Sequence[str] = [name for name in self._model.language_manager.language_names if name]
        self._recordings = recordings(folder / "voices") if _can_imitate(self._model) else {}
        self.speakers: Sequence[str | None] = self._names() or [None]

    def speak(
        self, text: str, speaker: str | None, language: str, speed: float, hurry: bool
    ) -> Iterator[NDArray[np.float32]]:
        with self._turn, self._paced(speed):
            yield self._synthesize(text, speaker, language)

    def _names(self) -> list[str | None]:
        speakers = self._model.speaker_manager
        return [*(speakers.speaker_names if speakers and speakers.num_speakers > 1 else ()), *self._recordings]

    @contextmanager
    def _paced(self, speed: float) -> Iterator[None]:
        """The model at this speed. Raises Refused where it has but one."""
        usual = getattr(self._model, "length_scale", None)
        if usual is None:
            if speed != 1:
                raise Refused(f"this model has one speed, not {speed:g}", "ask for speed 1, or for kokoro")
            yield
            return
        self._model.length_scale = usual / speed
        try:
            yield
        finally:
            self._model.length_scale = usual

    def _synthesize(self, text: str, speaker: str | None, language: str) -> NDArray[np.float32]:
        """Raises Refused for a text whose letters the model does not know."""
        spoken_in = self._spoken_in(language)
        tokens = self._model.tokenizer
        if not any(tokens.characters.id_to_char(n).isalnum() for n in tokens.text_to_ids(text, language=spoken_in)):
            raise Refused("this model knows none of the letters of this text")
        recording = self._recordings.get(speaker or "")
        outputs = self._model.synthesize(
            text,
            speaker=None if recording else speaker,
            speaker_wav=str(recording) if recording else None,
            language=spoken_in if len(self.languages) > 1 else None,
            use_griffin_lim=True,
        )
        return np.asarray(outputs["wav"], np.float32).reshape(-1)

    def _spoken_in(self, language: str) -> str | None:
        """The model's name for a language; one that it has not is read in the model's first."""
        fitting = [name for name in self.languages if name.split("-")[0].lower() == language]
        return next(iter([*fitting, *self.languages]), None)


class Vits(Whole):
    """VITS decides a sentence's whole course at once, which is quick; the sound, most of the work, comes in pieces."""

    def speak(
        self, text: str, speaker: str | None, language: str, speed: float, hurry: bool
    ) -> Iterator[NDArray[np.float32]]:
        import torch

        with self._turn:
            with self._paced(speed):
                course, voice = self._course(text, speaker, language)
            frame = int(np.prod(self._model.args.upsample_rates_decoder))
            for first, last in windows(course.shape[-1], self.sample_rate / frame, hurry):
                seen = max(0, first - SEEN_FRAMES)
                with torch.inference_mode():
                    sound = self._model.waveform_decoder(course[:, :, seen : last + SEEN_FRAMES], g=voice)
                yield sound[0, 0, (first - seen) * frame : (last - seen) * frame].numpy()

    def _course(self, text: str, speaker: str | None, language: str) -> tuple[Any, Any]:
        """What the decoder would be given. Shapes [1, channels, frames] and the voice's [1, channels, 1], or None."""

        def listen(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            raise _HeardError(given[0], named.get("g"))

        listening = self._model.waveform_decoder.register_forward_pre_hook(listen, with_kwargs=True)
        try:
            self._synthesize(text, speaker, language)
        except _HeardError as heard:
            return heard.course, heard.voice
        finally:
            listening.remove()
        raise AssertionError("VITS spoke without its decoder")


class _HeardError(Exception):
    """Ends VITS's own way to a whole sentence where its decoder would begin."""

    def __init__(self, course: Any, voice: Any) -> None:
        super().__init__()
        self.course, self.voice = course, voice


class Xtts:
    """XTTS streams by itself. Its voices come with it, or are recordings of a few seconds."""

    def __init__(self, synthesizer: Any, folder: Path) -> None:
        self._config = synthesizer.tts_config
        self._model = synthesizer.tts_model
        self._turn = threading.Lock()
        self._imitate = lru_cache(maxsize=KEPT_VOICES)(self._read_voice)
        self._recordings = recordings(folder / "voices")
        self.sample_rate = int(synthesizer.output_sample_rate)
        self.languages: Sequence[str] = list(self._config.languages)
        manager = self._model.speaker_manager
        self._own = dict(manager.speakers) if manager else {}
        self.speakers: Sequence[str | None] = [*self._own, *self._recordings]
        if not self.speakers:
            raise Missing(
                f"the model {folder.name} has no voice",
                f"put speakers_xtts.pth in {folder}, or a recording of six seconds, NAME.wav, in {folder / 'voices'}",
            )

    def speak(
        self, text: str, speaker: str | None, language: str, speed: float, hurry: bool
    ) -> Iterator[NDArray[np.float32]]:
        with self._turn:
            latents, embedding = self._voice(speaker or "")
            settings = {
                name: self._config[name]
                for name in ("temperature", "length_penalty", "repetition_penalty", "top_k", "top_p")
            }
            spoken_in = language if language in self.languages else self.languages[0]
            try:
                for piece in self._model.inference_stream(text, spoken_in, latents, embedding, speed=speed, **settings):
                    yield piece.reshape(-1).cpu().numpy()
            except AssertionError as error:
                raise Refused("this sentence is too long for XTTS: it reads 400 tokens at most") from error

    def _voice(self, name: str) -> tuple[Any, Any]:
        if name in self._own:
            latents, embedding = self._own[name].values()
            return latents, embedding
        return self._imitate(name)

    def _read_voice(self, name: str) -> tuple[Any, Any]:
        """What the package's own cloning does, but for its reader of files, which needs CUDA's libraries."""
        import soundfile
        import torch

        path = self._recordings[name]
        try:
            samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        except (OSError, RuntimeError) as error:
            raise Damaged(f"the recording {path.name} can't be read: {first_line(error)}", "copy it again") from error
        audio = torch.from_numpy(samples.mean(axis=1))[None, : self._config.max_ref_len * rate]
        try:
            latents = self._model.get_gpt_cond_latents(
                audio, rate, length=self._config.gpt_cond_len, chunk_length=self._config.gpt_cond_chunk_len
            )
            return latents, self._model.get_speaker_embedding(audio, rate)
        except RuntimeError as error:
            raise Damaged(
                f"the recording {path.name} can't be imitated: {first_line(error)}", "take another"
            ) from error


def windows(frames: int, frames_per_second: float, hurry: bool) -> list[tuple[int, int]]:
    """From which frame to which each piece goes; a small first one when somebody waits for it."""
    size = max(1, round(FRAMES_SECONDS * frames_per_second))
    head = min(frames, max(1, round(HURRY_SECONDS * frames_per_second))) if hurry else 0
    starts = [0, *range(head or size, frames, size)]
    return list(zip(starts, [*starts[1:], frames], strict=True))


def recordings(folder: Path) -> dict[str, Path]:
    return {path.stem: path for path in sorted(folder.glob("*")) if path.suffix in RECORDINGS}


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def _can_imitate(model: Any) -> bool:
    return getattr(model.speaker_manager, "encoder", None) is not None
