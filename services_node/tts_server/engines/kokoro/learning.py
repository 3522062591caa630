"""What the generator's norms are told of a voice: their mean and variance over some sentences that it says."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from services_node.tts_server.engines.kokoro.alphabet import Phonemes, sounds_of
from services_node.tts_server.engines.kokoro.model import (
    LEARN,
    Floats,
    Halt,
    Model,
    Statistics,
    generator_input,
    session_of,
)

T = TypeVar("T")
Heard = tuple[int, Floats, Floats]  # of one sentence: frames, means, variances

# The generator's style, whatever the length of a sentence: the norms differ much with it, and little with what is said.
ROW = 80
VARIANCE_FLOOR = 1e-5  # the norms' own
SENTENCES = (  # short ones: of a long one the work takes much memory
    ("es", "El tren de las ocho llega con retraso."),
    ("en", "Please send me the latest figures before Friday."),
    ("es", "¿Quién ha dejado abierta la ventana de la cocina?"),
    ("en", "Who left the kitchen window open last night?"),
    ("es", "No olvides apagar las luces cuando salgas."),
    ("en", "Thank you for coming to the meeting today."),
)


def at_once(work: Callable[[], T]) -> T:
    return work()


def learn(
    model: Model,
    folder: Path,
    styles: Floats,
    phonemes: Phonemes,
    *,
    halt: Halt,
    threads: int,
    turn: Callable[[Callable[[], Heard]], Heard] = at_once,
) -> Statistics:
    """Some seconds of work, sentence by sentence. turn: does the work on one, when there is time for it. Raises
    Stopped, and what `turn` does."""
    session = session_of(folder / LEARN, threads)
    style = styles[ROW]

    def said(language: str, text: str) -> Heard:
        ids = sounds_of(text, language, phonemes).ids
        outline = model.outline(ids, styles[len(ids) - 1], 1.0, halt)
        length = outline.frames.shape[2]
        mean, variance = halt.run(session, ["mean", "variance"], generator_input(outline, 0, length, style))
        return length, mean, variance

    heard = [turn(partial(said, language, text)) for language, text in SENTENCES]
    lengths, means, variances = zip(*heard, strict=True)
    weights = np.array(lengths, np.float64) / sum(lengths)
    mean = sum((weight * one for weight, one in zip(weights, means, strict=True)), np.zeros_like(means[0], np.float64))
    square = sum(
        weight * (variance + (one - mean) ** 2) for weight, one, variance in zip(weights, means, variances, strict=True)
    )
    deviation = 1 / np.sqrt(square + VARIANCE_FLOOR)
    return Statistics(mean.astype(np.float32), deviation.astype(np.float32))
