"""Kokoro's graphs at work: numbers in, numbers out. `surgery` made them, `assembly` laid them down."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from services_node.tts_server.engines.contract import Damaged
from services_node.tts_server.engines.kokoro.windows import FRAME_SAMPLES, Window

Floats = NDArray[np.float32]
FRONT, OWN, FIXED, LEARN = (f"{name}.onnx" for name in ("front", "own", "fixed", "learn"))


@dataclass(frozen=True, slots=True)
class Outline:
    """A sentence before it has a sound. frames: (1, 512, n); harmonics: (1, 22, 60 n + 1); durations: of each sound
    and both ends, in units of two frames."""

    frames: Floats
    harmonics: Floats
    durations: list[float]


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the generator's norms are told of a voice. mean, deviation (1/σ): (1, channels, 1)."""

    mean: Floats
    deviation: Floats


class Stopped(Exception):
    """A run was told to stop."""


class Halt:
    """Stops the runs that were given it, also one under way."""

    def __init__(self) -> None:
        self._options = onnxruntime.RunOptions()
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True
        self._options.terminate = True

    def run(self, session: Any, outputs: list[str], given: Mapping[str, Any]) -> list[Floats]:
        """Raises Stopped."""
        if self.stopped:
            raise Stopped
        try:
            results: list[Floats] = session.run(outputs, given, self._options)
        except Exception:
            if self.stopped:
                raise Stopped from None
            raise
        return results


def session_of(path: Path, threads: int) -> Any:
    """Raises Damaged."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # others need the cores
    options.enable_cpu_mem_arena = False  # an arena keeps what the longest sentence took
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its errors have no common class
        mend = f"Remove {path.parent} and run `./capibara6 up` (or `./capibara6 install`) again."
        raise Damaged(f"{path} cannot be read: {error}", mend) from None


class Model:
    """Calls are from any thread. Where a listener waits, all threads work on one piece; else each on its own, which
    makes a fifth more of them. Nearly all voices are known: what unknown ones need is loaded when one speaks."""

    def __init__(self, folder: Path, threads: int) -> None:
        self._folder, self._threads = folder, threads
        self._front = session_of(folder / FRONT, threads)
        self._all_threads, self._one_thread = session_of(folder / FIXED, threads), session_of(folder / FIXED, 1)
        self._loading = threading.Lock()
        self._own_session: Any = None

    def outline(self, ids: list[int], style: Floats, speed: float, halt: Halt) -> Outline:
        given = {"tokens": [[0, *ids, 0]], "style": style, "speed": np.array([speed], np.float32)}
        frames, harmonics, durations = halt.run(self._front, ["frames", "harmonics", "duration"], given)
        return Outline(frames, harmonics, durations.ravel().tolist())

    def sound(
        self,
        outline: Outline,
        window: Window,
        style: Floats,
        statistics: Statistics | None,
        halt: Halt,
        *,
        all_threads: bool = False,
    ) -> Floats:
        """Samples of the window's frames, (300 × frames,). statistics: None where it takes its own."""
        given: dict[str, Any] = dict(generator_input(outline, window.read_from, window.read_to, style))
        if statistics is None:
            session = self._own()
        else:
            session = self._all_threads if all_threads else self._one_thread
            given |= {"mean": statistics.mean, "deviation": statistics.deviation}
        samples = halt.run(session, ["audio"], given)[0].ravel()
        skipped = (window.start - window.read_from) * FRAME_SAMPLES
        return samples[skipped : skipped + (window.stop - window.start) * FRAME_SAMPLES]

    def _own(self) -> Any:
        with self._loading:
            if self._own_session is None:
                self._own_session = session_of(self._folder / OWN, self._threads)
            return self._own_session


def generator_input(outline: Outline, start: int, stop: int, style: Floats) -> dict[str, Floats]:
    return {
        "frames": np.ascontiguousarray(outline.frames[:, :, start:stop]),
        "harmonics": np.ascontiguousarray(outline.harmonics[:, :, 60 * start : 60 * stop + 1]),
        "style": style,
    }
