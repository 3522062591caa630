"""An engine of the tests, run in a process as the real ones: each word is a tenth of a second of the same sample.

What it is told to do stands in the words: `crash` ends the process, `fail` raises, `hang` works without an end and
without looking up, `loud` gives samples that are none. Its folder is asked for a file `weights`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence

import numpy as np

from services_node.tts_server.engines.contract import Chunk, Missing, Refused, Setup, Utterance, Voice, Word

RATE = 8000


class FakeEngine:
    sample_rate = RATE
    mixes = False

    def voices(self) -> Sequence[Voice]:
        return [Voice("one", "es-ES", "female")]

    def speak(self, utterance: Utterance) -> Iterator[Chunk]:
        if utterance.voice[0][0] != "one":
            raise Refused(f"no voice {utterance.voice[0][0]}")
        print("an engine that prints", flush=True)  # must not be taken for a frame
        for place, word in enumerate(utterance.text.split()):
            if word == "crash":
                os._exit(3)
            if word == "fail":
                raise ZeroDivisionError("of the engine")
            while word == "hang":
                time.sleep(0.01)
            if word == "slow":
                time.sleep(0.05)
            level = float("nan") if word == "loud" else 0.5
            yield Chunk(np.full(RATE // 10, level, np.float32), (Word(word, place / 10, (place + 1) / 10),))

    def stop(self, utterance: Utterance) -> None:
        return


def load(setup: Setup) -> FakeEngine:
    if not (setup.folder / "weights").exists():
        raise Missing(f"{setup.folder / 'weights'} is not there", "put it there")
    return FakeEngine()
