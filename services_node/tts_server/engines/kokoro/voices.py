"""Kokoro's voices: their styles, mixes of them, and what the generator's norms are told of each.

A voice is 510 styles, one for each number of sounds in a sentence: shape (510, 1, 256).
"""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from services_node.tts_server.engines.contract import Damaged, Refused, Voice
from services_node.tts_server.engines.kokoro.model import Floats, Statistics

log = logging.getLogger("tts_server.kokoro")

Blend = tuple[tuple[str, float], ...]
SHAPE = (510, 1, 256)
# A name's first letter, by the model's authors: the language the voice was made in; its second: f or m.
LANGUAGES = {
    "a": "en-US", "b": "en-GB", "e": "es-ES", "f": "fr-FR", "h": "hi-IN", "i": "it-IT", "j": "ja-JP", "p": "pt-BR",
    "z": "zh-CN",
}  # fmt: skip
READ = {"es": 0, "en": 1}  # what is read here, in the order it is told
KEPT_BLENDS = 32


class Voices:
    """Those of a folder `voices/*.bin`, float32 little-endian."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names = sorted(path.stem for path in folder.glob("*.bin"))
        self._styles: dict[Blend, Floats] = {}
        self._lock = threading.Lock()

    def told(self) -> Sequence[Voice]:
        """Spanish and English first: others read those with an accent."""
        known = [
            Voice(name, LANGUAGES[name[0]], "female" if name[1] == "f" else "male")
            for name in self._names
            if name[:1] in LANGUAGES and name[1:3] in {"f_", "m_"}
        ]
        return sorted(known, key=lambda voice: (READ.get(voice.language[:2], len(READ)), voice.language, voice.id))

    def styles(self, blend: Blend) -> Floats:
        """(510, 1, 256). Raises Refused for a name nobody has, Damaged for a file that is not a voice."""
        with self._lock:
            found = self._styles.get(blend)
            if found is None:
                found = sum((self._read(name) * np.float32(share) for name, share in blend), np.zeros(SHAPE, "f4"))
                if len(self._styles) >= KEPT_BLENDS:
                    self._styles.pop(next(iter(self._styles)))
                self._styles[blend] = found
            return found

    def _read(self, name: str) -> Floats:
        if name not in self._names:
            raise Refused(f"There is no voice {name!r}.")
        path = self._folder / f"{name}.bin"
        mend = f"Put the right file in its place, or remove {self._folder.parent} and run `./capibara6 up` again."
        try:
            styles = np.fromfile(path, "<f4")
        except OSError as error:
            raise Damaged(f"{path} cannot be read: {error.strerror}", mend) from None
        if styles.size != np.prod(SHAPE) or not np.isfinite(styles).all():
            raise Damaged(f"{path} is not a voice of Kokoro", mend)
        return styles.reshape(SHAPE)


class StatisticsStore:
    """What was learnt of each voice and mix, in memory and in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[Blend, Statistics | None] = {}

    def get(self, blend: Blend) -> Statistics | None:
        if blend not in self._known:
            self._keep(blend, self._read(blend))
        return self._known[blend]

    def put(self, blend: Blend, statistics: Statistics) -> None:
        self._keep(blend, statistics)
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._path(blend)
        unfinished = path.with_suffix(".tmp.npz")
        np.savez(unfinished, mean=statistics.mean, deviation=statistics.deviation)
        unfinished.replace(path)

    def _keep(self, blend: Blend, statistics: Statistics | None) -> None:
        while len(self._known) >= KEPT_BLENDS:
            self._known.pop(next(iter(self._known)))
        self._known[blend] = statistics

    def _read(self, blend: Blend) -> Statistics | None:
        try:
            with np.load(self._path(blend)) as kept:
                return Statistics(kept["mean"], kept["deviation"])
        except FileNotFoundError:
            return None
        except Exception as error:  # cut short by a machine that went down: it is learnt again
            log.warning("what was learnt of a voice can't be read: %s", error)
            return None

    def _path(self, blend: Blend) -> Path:
        name = "+".join(f"{voice}({share:g})" for voice, share in blend)
        return self._folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.npz"
