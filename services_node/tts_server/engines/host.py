"""The process an engine lives in: `python -m services_node.tts_server.engines.host MODULE FOLDER CACHE THREADS`.

Frames come on standard input and go out on standard output; what an engine prints goes to standard error. The first
frame out says what the engine is, or why there is none. `{"speak": ID, …utterance}` is answered by pieces, each
`{"id", "words"}` with 16-bit samples, and by `{"id", "end"}`; `{"stop": ID}` ends it sooner. When standard input
ends, the process does too: nothing outlives the server.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
import threading
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np

from services_node.tts_server.engines.contract import Engine, EngineError, EngineFactory, Setup, Utterance
from services_node.tts_server.engines.frames import packed, read_frame

log = logging.getLogger("tts_server.host")


@dataclass
class Out:
    """Frames of several threads, whole."""

    stream: BinaryIO
    lock: threading.Lock

    def put(self, head: dict[str, Any], body: bytes = b"") -> None:
        with self.lock:
            self.stream.write(packed(head, body))
            self.stream.flush()


def told(engine: Engine) -> dict[str, Any]:
    return {
        "ready": True,
        "sample_rate": engine.sample_rate,
        "mixes": engine.mixes,
        "voices": [asdict(voice) for voice in engine.voices()],
    }


def failure(error: BaseException) -> dict[str, str]:
    """An engine's own error by its name; any other is the engine's fault, and its trace is in the log."""
    if isinstance(error, EngineError):
        return {"error": type(error).__name__, "detail": error.detail, "mend": error.mend}
    log.error("the engine failed", exc_info=error)
    return {"error": "Crashed", "detail": f"{type(error).__name__}: {error}"[:500], "mend": ""}


def samples_of(samples: Any) -> bytes:
    """Float samples as signed 16-bit ones, little-endian. Raises ValueError for what is no sound."""
    finite = np.asarray(samples, np.float32)
    if not np.isfinite(finite).all():
        raise ValueError("samples that are no numbers")
    return (np.clip(finite, -1, 1) * 32767).astype("<i2").tobytes()


def speak(engine: Engine, number: int, utterance: Utterance, stopped: threading.Event, out: Out) -> None:
    try:
        with closing(cast(Any, engine.speak(utterance))) as chunks:
            for chunk in chunks:
                if stopped.is_set():
                    break
                words = [[word.text, word.start, word.end] for word in chunk.words]
                out.put({"id": number, "words": words}, samples_of(chunk.samples))
        out.put({"id": number, "end": True})
    except BrokenPipeError:
        os._exit(0)
    except BaseException as error:
        out.put({"id": number, **({"end": True} if stopped.is_set() else failure(error))})


def serve(engine: Engine, source: BinaryIO, out: Out) -> None:
    """Until the source ends."""
    stops: dict[int, tuple[threading.Event, Utterance]] = {}
    out.put(told(engine))
    while frame := read_frame(source):
        head, _ = frame
        if "stop" in head:
            if found := stops.get(head["stop"]):
                found[0].set()
                engine.stop(found[1])
            continue
        number = int(head.pop("speak"))
        voice = tuple((str(name), float(share)) for name, share in head.pop("voice"))
        utterance = Utterance(voice=voice, **head)
        stopped = threading.Event()
        stops[number] = stopped, utterance

        def work(number: int = number, utterance: Utterance = utterance, stopped: threading.Event = stopped) -> None:
            try:
                speak(engine, number, utterance, stopped, out)
            finally:
                stops.pop(number, None)

        threading.Thread(target=work, name=f"utterance-{number}", daemon=True).start()


def load(module: str) -> Callable[[Setup], Engine]:
    return cast(EngineFactory, importlib.import_module(module).load)


def main(arguments: list[str]) -> int:
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s", stream=sys.stderr)
    module, folder, cache, threads = arguments
    own = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # what an engine prints is no frame
    out = Out(own, threading.Lock())
    try:
        engine = load(module)(Setup(Path(folder), int(threads), Path(cache)))
    except BaseException as error:
        out.put(failure(error))
        return 1
    serve(engine, sys.stdin.buffer, out)
    os._exit(0)  # without waiting for what is being said to nobody


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
