"""Speaks with espeak-ng, to be compared with: a program of its own, as the library's licence is GPL-3.

    python -m bench._espeak

Standard input: a JSON object a line, {"text": …, "language": "es" or "en", "file": where the WAV file goes}. Standard
output: for each, in order, {"seconds": of sound}.
"""

from __future__ import annotations

import ctypes
import json
import sys
import wave

import espeakng_loader

VOICES = {"es": b"es", "en": b"en-us"}
SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT: samples are handed to a callback, in the caller's thread
UTF8 = 1

_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)


def main() -> int:
    library = ctypes.CDLL(espeakng_loader.get_library_path())
    rate = library.espeak_Initialize(SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
    said = bytearray()

    def take(samples: ctypes._Pointer[ctypes.c_short], count: int, _events: object) -> int:
        if samples and count > 0:
            said.extend(ctypes.string_at(samples, count * 2))
        return 0

    callback = _CALLBACK(take)
    library.espeak_SetSynthCallback(callback)
    for line in sys.stdin:
        asked = json.loads(line)
        said.clear()
        library.espeak_SetVoiceByName(VOICES[asked["language"]])
        text = asked["text"].encode()
        library.espeak_Synth(text, ctypes.c_size_t(len(text) + 1), 0, 0, 0, UTF8, None, None)
        with wave.open(asked["file"], "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(rate)
            file.writeframes(bytes(said))
        print(json.dumps({"seconds": len(said) / 2 / rate}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
