"""How fast the speech server speaks, to how many at once, and how well a recogniser understands it.

    ./capibara6 bench speech [--sentences 30] [--asks 10] [--rounds 2] [--listeners 4] [--json FILE]

Starts a speech server of its own, on two cores, and asks it over HTTP for raw samples. All aims are ratios or
seconds on an idle machine:

- `real_time_factor`: seconds to speak a sentence over the seconds it lasts. Aim 0.5.
- `first_audio_seconds`: until the first samples of a sentence of fifteen words, aim 0.5, and of one that begins with a
  clause, aim 0.25.
- `listeners`: so many begin at once, each with a text of its own, and play without waiting: the silences they meet
  after the start. `most_without_silence`, aim 2. All are spoken to at the same time; none waits for another's end.
- `memory_mib`: of the server and its engines, the most that was seen. Aim 700.
- `word_error_rate`: of a packaged Whisper base that hears the sentences of `bench/data/speech.toml`, aims 0.10 in
  Spanish and 0.06 in English. A third of them have numbers, dates and abbreviations, which must be heard as they are
  spoken; what it writes in digits goes through our own reading first. espeak-ng says the same sentences beside.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from bench._chat_stack import free_offset
from bench._speech_client import Heard, Refused, listen_at_once, speak
from bench._speech_figures import comparable, most_without_silence, silences, word_error_rate
from bench._speech_said import LANGUAGES, Said, long_text, of_fifteen_words, sentences
from bench._streams import client, operator_headers, report
from bench.proxy import running, wait_answering
from services_node.tts_server.text import NothingToSay, read_text
from stack.install.environments import environment_python
from stack.secrets import ensure_secrets
from stack.settings import REPOSITORY, Settings, get_settings
from stack.topology import load_topology

SERVICE = "tts-server"
CORES = 2
AIMS = {"real_time_factor": 0.5, "sentence": 0.5, "clause": 0.25, "listeners": 2, "memory_mib": 700.0}
HEARD_AIMS = {"es": 0.10, "en": 0.06}
CHILD_SECONDS = 1800.0
LOOK_SECONDS = 0.5  # between two looks at the memory
WARM_UP = {"es": "Esto es solo una prueba.", "en": "This is only a test."}


@dataclass(slots=True)
class Server:
    """most: the memory of it and of its engines, in bytes by process, when somebody looked and it was the most. Pages
    that several share are counted once."""

    http: httpx.Client
    process: psutil.Process
    most: dict[str, int] = field(default_factory=dict)

    def look(self) -> None:
        found: dict[str, int] = {}
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in [self.process, *self.process.children(recursive=True)]:
                with contextlib.suppress(psutil.NoSuchProcess, IndexError):
                    name = " ".join(Path(word).name for word in process.cmdline()[1:] if word != "-m")[-60:]
                    found[name] = found.get(name, 0) + process.memory_full_info().pss
        if sum(found.values()) > sum(self.most.values()):
            self.most = found


@contextlib.contextmanager
def speech_server(settings: Settings, listeners: int) -> Iterator[Server]:
    """One on two cores and ports of its own, with the weights that are installed; it speaks to all at once."""
    ensure_secrets(settings)
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])
    offset = free_offset(lambda offset: load_topology(settings.model_copy(update={"port_offset": offset})))
    topology = load_topology(settings.model_copy(update={"port_offset": offset}))
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CAPIBARA6_")} | {
        "CAPIBARA6_HOME": str(settings.home),
        "CAPIBARA6_PORT_OFFSET": str(offset),
        "CAPIBARA6_TTS_CONCURRENT": str(listeners),
        "PYTHONPATH": str(REPOSITORY),
    }
    service, url = topology.service(SERVICE), topology.url(SERVICE)
    with tempfile.TemporaryDirectory(prefix="capibara6-speech-") as folder:
        log = Path(folder) / "log"
        with running([sys.executable, *service.command], log, environment) as process:
            wait_answering(f"{url}{service.ready_path}", process, log)
            with client(url, headers=operator_headers(settings, SERVICE)) as http:
                for language, text in WARM_UP.items():
                    speak(http, text, language)
                yield Server(http, psutil.Process(process.pid))


@contextlib.contextmanager
def watched(server: Server) -> Iterator[None]:
    """Looks at the server's memory until the end."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(LOOK_SECONDS):
            server.look()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        server.look()


def against(value: float, aim: float) -> dict[str, Any]:
    return {"aim": aim, "met": value <= aim}


def real_time_factor(heard: Sequence[Heard]) -> dict[str, Any]:
    factors = [each.seconds / each.audio_seconds for each in heard]
    median = statistics.median(factors)
    return {"median": round(median, 3), "worst": round(max(factors), 3), **against(median, AIMS["real_time_factor"])}


def first_audio(server: Server, asks: int, *, clause: bool) -> dict[str, Any]:
    asked = list(of_fifteen_words(clause=clause))[: 2 * asks]
    seconds = [speak(server.http, said.written, said.language).first for said in asked]
    median = statistics.median(seconds)
    aim = AIMS["clause" if clause else "sentence"]
    return {"median": round(median, 3), "worst": round(max(seconds), 3), "n": len(seconds), **against(median, aim)}


def listeners(server: Server, said: Sequence[Said], most: int, rounds: int) -> dict[str, Any]:
    """At each number, over all rounds: the silences of all, and how long the last one waited for the first sound."""
    told: dict[str, Any] = {}
    heard: dict[int, list[Heard]] = {}
    numbered = itertools.count(1)
    for number in range(1, most + 1):
        heard[number] = []
        for turn in range(rounds):
            asked = []
            for listener in range(number):
                language = LANGUAGES[(listener + turn) % len(LANGUAGES)]
                own = [each for each in said if each.language == language]
                asked.append((long_text(own, next(numbered)), language))
            heard[number] += listen_at_once(server.http, asked)
        found = [silence for each in heard[number] for silence in silences(each.arrivals)]
        told[str(number)] = {
            "silences": len(found),
            "longest_silence_seconds": round(max(found, default=0.0), 3),
            "first_audio_worst_seconds": round(max(each.first for each in heard[number]), 3),
        }
    best = most_without_silence({number: [each.arrivals for each in found] for number, found in heard.items()})
    return {**told, "most_without_silence": best, "aim": AIMS["listeners"], "met": best >= AIMS["listeners"]}


def spoken(server: Server, said: Sequence[Said], folder: Path, model: str) -> list[Heard]:
    """Each sentence by itself, and as a file: MODEL-0.wav and so on. Raises Refused."""
    heard = []
    for number, each in enumerate(said):
        heard.append(speak(server.http, each.written, each.language, model))
        heard[-1].save(folder / f"{model}-{number}.wav")
    return heard


def child(python: str, module: str, arguments: Sequence[str], asked: Sequence[dict[str, str]]) -> list[dict[str, Any]]:
    """What a program of ours answers to these lines. Raises RuntimeError with its last words."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(REPOSITORY)}
    lines = "".join(json.dumps(each) + "\n" for each in asked)
    command = [python, "-m", module, *arguments]
    done = subprocess.run(
        command, cwd=REPOSITORY, env=environment, input=lines, capture_output=True, text=True, timeout=CHILD_SECONDS,
        check=False,
    )  # fmt: skip
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode or len(answers) != len(asked):
        raise RuntimeError(f"{module}: {done.stderr[-2000:]}")
    return answers


def as_spoken(text: str, language: str) -> list[str]:
    """What a recogniser wrote, as comparable words: its digits and abbreviations are spoken as ours are."""
    try:
        return comparable(" ".join(segment.text for segment in read_text(text, language=language)))
    except NothingToSay:
        return []


def understood(settings: Settings, folder: Path, speaker: str, said: Sequence[Said]) -> dict[str, Any]:
    """Word error rates by language, of the files SPEAKER-0.wav and so on; and what was heard otherwise."""
    files = [
        {"file": str(folder / f"{speaker}-{number}.wav"), "language": each.language} for number, each in enumerate(said)
    ]
    python = str(environment_python(settings, "bench-speech"))
    answers = child(python, "bench._recogniser", [str(settings.home / "bench" / "whisper-base")], files)
    told: dict[str, Any] = {}
    heard = [as_spoken(answer["text"], each.language) for answer, each in zip(answers, said, strict=True)]
    for language in LANGUAGES:
        pairs = [
            (comparable(each.spoken), words)
            for each, words in zip(said, heard, strict=True)
            if each.language == language
        ]
        if pairs:
            told[language] = round(word_error_rate(pairs), 3)
    told["heard_otherwise"] = [
        {"said": each.spoken, "written_down": answer["text"]}
        for each, answer, words in zip(said, answers, heard, strict=True)
        if comparable(each.spoken) != words
    ]
    return told


def by_espeak(folder: Path, said: Sequence[Said]) -> None:
    asked = [
        {"text": each.written, "language": each.language, "file": str(folder / f"espeak-{number}.wav")}
        for number, each in enumerate(said)
    ]
    child(sys.executable, "bench._espeak", [], asked)


def everything(settings: Settings, given: argparse.Namespace, folder: Path) -> dict[str, Any]:
    told: dict[str, Any] = {}

    def note(name: str, figures: Any) -> None:
        told[name] = figures
        sys.stderr.write(f"{name}: {json.dumps(figures, ensure_ascii=False)}\n")

    said = sentences(given.sentences)
    english = [each for each in said if each.language == "en"]
    piper: dict[str, Any] | None = None
    with speech_server(settings, given.listeners) as server:
        with watched(server):
            heard = spoken(server, said, folder, "kokoro")
            by_language = {
                language: real_time_factor(
                    [one for one, each in zip(heard, said, strict=True) if each.language == language]
                )
                for language in LANGUAGES
            }
            note("real_time_factor", {**real_time_factor(heard), **by_language})
            sentence = first_audio(server, given.asks, clause=False)
            note("first_audio_seconds", {"sentence": sentence, "clause": first_audio(server, given.asks, clause=True)})
            note("listeners", listeners(server, said, given.listeners, given.rounds))
        mib = sum(server.most.values()) / 2**20
        processes = {name: round(taken / 2**20) for name, taken in server.most.items()}
        note("memory_mib", {"most": round(mib), "processes": processes, **against(mib, AIMS["memory_mib"])})
        try:
            note("piper", {"real_time_factor": real_time_factor(spoken(server, english, folder, "piper"))})
        except Refused as refused:
            piper = {"refused": str(refused)}
    rates = understood(settings, folder, "kokoro", said)
    rates["aims"] = HEARD_AIMS
    rates["met"] = all(rates[language] <= aim for language, aim in HEARD_AIMS.items())
    by_espeak(folder, said)
    espeak = understood(settings, folder, "espeak", said)
    del espeak["heard_otherwise"]
    piper = piper or understood(settings, folder, "piper", english)
    note("word_error_rate", {"kokoro": rates, "espeak-ng": espeak, "piper": piper})
    return told


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="./capibara6 bench speech", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sentences", type=int, default=30, help="of each language, for the word error rate")
    parser.add_argument("--asks", type=int, default=10, help="of each language and kind, for the first audio")
    parser.add_argument("--rounds", type=int, default=2, help="of listeners at once")
    parser.add_argument("--listeners", type=int, default=4, help="at once, at most")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    load = os.getloadavg()[0]
    machine = {"cores": os.cpu_count(), "used": CORES, "load_before": round(load, 1)}
    with tempfile.TemporaryDirectory(prefix="capibara6-speech-") as folder:
        told = everything(get_settings(), given, Path(folder))
    report({"bench": "speech", "machine": machine, **told}, given.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
