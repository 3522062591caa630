"""A program of its own that turns text into phonemes: `python -I espeak.py`, JSON lines in, JSON lines out.

It loads libespeak-ng (GPL-3, from the wheel `espeakng-loader`), which therefore lives in no process of ours. A line
`{"text", "voice"}` is answered by `{"phonemes": [[word, …] of each clause]}` or `{"error"}`. Imports nothing of ours.
The calls are those of espeak-ng's `speak_lib.h`.
"""

from __future__ import annotations

import ctypes
import json
import sys

import espeakng_loader

AUDIO_SYNCHRONOUS = 2  # AUDIO_OUTPUT_SYNCHRONOUS: nothing is played
UTF8 = 1  # espeakCHARS_UTF8
IPA_WITH_TIES = 0x02 | 0x80 | (ord("^") << 8)  # phonemes in IPA; a ^ joins those that are one sound


class Espeak:
    def __init__(self) -> None:
        library = ctypes.cdll.LoadLibrary(espeakng_loader.get_library_path())
        path = espeakng_loader.get_data_path().encode()
        if library.espeak_Initialize(AUDIO_SYNCHRONOUS, 0, path, 0) < 0:
            raise OSError("libespeak-ng did not find its data")
        library.espeak_TextToPhonemes.restype = ctypes.c_char_p
        library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
        library.espeak_SetVoiceByName.argtypes = [ctypes.c_char_p]
        self._library = library
        self._voice = ""

    def phonemes(self, text: str, voice: str) -> str:
        """IPA of a text without punctuation. Raises ValueError for a voice that espeak-ng has not."""
        if voice != self._voice:
            if self._library.espeak_SetVoiceByName(voice.encode()) != 0:
                raise ValueError(f"espeak-ng has no voice {voice}")
            self._voice = voice
        rest = ctypes.c_char_p(text.encode())
        parts: list[str] = []
        while rest:  # one clause after the other; null at the end
            part = self._library.espeak_TextToPhonemes(ctypes.byref(rest), UTF8, IPA_WITH_TIES)
            parts.append((part or b"").decode())
        return " ".join(filter(None, parts))


def main() -> int:
    espeak = Espeak()
    for line in sys.stdin:
        try:
            asked = json.loads(line)
            told: dict[str, object] = {"phonemes": [espeak.phonemes(text, asked["voice"]) for text in asked["texts"]]}
        except (KeyError, ValueError) as error:
            told = {"error": str(error)}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
