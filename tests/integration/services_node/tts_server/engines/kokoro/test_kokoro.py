"""Kokoro itself, as it was installed."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import numpy as np
import pytest

from services_node.tts_server.engines.contract import Chunk, Damaged, Refused, Setup, Utterance
from services_node.tts_server.engines.kokoro import assembly, learning, windows
from services_node.tts_server.engines.kokoro.alphabet import sounds_of
from services_node.tts_server.engines.kokoro.engine import Kokoro, load
from services_node.tts_server.engines.kokoro.model import FIXED, FRONT, OWN, Floats, Halt, Model
from services_node.tts_server.engines.kokoro.timing import layout_of
from services_node.tts_server.engines.kokoro.windows import Window
from stack.paths import speech_directory
from stack.settings import get_settings

SENTENCE = "Buenos días, la reunión empieza mañana a las nueve en la sala grande."
DORA = (("ef_dora", 1.0),)


@pytest.fixture(scope="module")
def kokoro() -> Iterator[Kokoro]:
    settings = get_settings()
    engine = load(Setup(speech_directory(settings), 2, settings.home / "cache"))
    yield engine
    engine.close()


def seconds(chunks: list[Chunk]) -> float:
    return sum(len(chunk.samples) for chunk in chunks) / windows.SAMPLE_RATE


def test_a_beginning_that_is_waited_for_comes_long_before_the_end(kokoro: Kokoro) -> None:
    began = time.monotonic()
    times, chunks = [], []
    for chunk in kokoro.speak(Utterance(SENTENCE, "es", DORA, deadline=time.monotonic())):
        times.append(time.monotonic() - began)
        chunks.append(chunk)
    assert 3 < seconds(chunks) < 7
    assert times[0] < times[-1] / 3
    assert all(np.abs(chunk.samples).max() <= 1 for chunk in chunks)


def test_every_word_is_told_once_in_order_and_within_the_sound(kokoro: Kokoro) -> None:
    chunks = list(kokoro.speak(Utterance(SENTENCE, "es", DORA, deadline=time.monotonic())))
    words = [word for chunk in chunks for word in chunk.words]
    assert [word.text for word in words] == SENTENCE.replace(",", "").replace(".", "").split()
    assert all(a.end <= b.start + 0.001 for a, b in pairwise(words))
    assert words[-1].end <= seconds(chunks) + 0.001


def test_the_sound_does_not_depend_on_the_pieces_it_is_made_in(kokoro: Kokoro) -> None:
    """What `surgery` is for: with statistics that are told, a piece sounds as it does in the whole."""
    model, halt = kokoro._model, Halt()
    styles, statistics = kokoro._voices.styles(DORA), kokoro._statistics.get(DORA)
    assert statistics is not None, "the default voices are learnt at install"
    ids = sounds_of(SENTENCE, "es", kokoro._phonemes).ids
    outline, style = model.outline(ids, styles[len(ids) - 1], 1.0, halt), styles[learning.ROW]
    start, stop = layout_of(outline.durations).start, layout_of(outline.durations).stop
    whole = model.sound(outline, Window(start, stop, start, stop), style, statistics, halt)
    small = [windows.piece(place, 30, start, stop) for place in range(start, stop - windows.FIRST, 30)]
    for planned in (small, windows.pieces(start, start, stop)):
        pieces = [model.sound(outline, one, style, statistics, halt, all_threads=one in small) for one in planned]
        assert len(pieces) > 2
        assert distance(whole, np.concatenate(pieces)) < 2.0


def test_what_is_told_of_a_voice_sounds_as_what_is_taken_from_the_sentence(kokoro: Kokoro) -> None:
    model, halt = kokoro._model, Halt()
    styles, statistics = kokoro._voices.styles(DORA), kokoro._statistics.get(DORA)
    ids = sounds_of(SENTENCE, "es", kokoro._phonemes).ids
    style = styles[len(ids) - 1]
    outline = model.outline(ids, style, 1.0, halt)
    layout = layout_of(outline.durations)
    window = Window(layout.start, layout.stop, layout.start, layout.stop)
    own = model.sound(outline, window, style, None, halt)
    told = model.sound(outline, window, styles[learning.ROW], statistics, halt)
    assert distance(own, told) < 4.0
    assert 0.6 < rms(told) / rms(own) < 1.6


def test_a_voice_of_which_nothing_is_known_is_said_too_and_with_time_in_hand_as_well(kokoro: Kokoro) -> None:
    mixed = (("ef_dora", 0.5), ("em_alex", 0.5))
    assert kokoro._statistics.get(mixed) is None, "mixes are too many to be kept"
    lengths = [
        seconds(list(kokoro.speak(Utterance(SENTENCE, "es", voice, deadline=time.monotonic() + ahead))))
        for voice, ahead in ((mixed, 0.0), (mixed, 10.0), (DORA, 0.0), (DORA, 10.0))
    ]
    assert all(3 < length < 7 for length in lengths)
    assert lengths[2] == pytest.approx(lengths[3], abs=0.8), "said with its first clause alone, or in one"


def test_two_who_listen_at_once_are_each_said_in_order_and_whole(kokoro: Kokoro) -> None:
    with ThreadPoolExecutor(2) as both:
        said = list(
            both.map(
                lambda text: list(kokoro.speak(Utterance(text, "es", DORA, deadline=time.monotonic()))),
                (SENTENCE, "No olvides apagar las luces y cerrar la puerta cuando salgas."),
            )
        )
    for chunks, last in zip(said, ("grande", "salgas"), strict=True):
        assert len(chunks) > 2 and [word.text for chunk in chunks for word in chunk.words][-1] == last
        assert 3 < seconds(chunks) < 7
    until = time.monotonic() + 5
    while kokoro._pool.load and time.monotonic() < until:
        time.sleep(0.01)  # a piece is given before it is counted as done
    assert not kokoro._under_way and kokoro._pool.load == 0


def test_speed_and_mixes_are_the_engines_own(kokoro: Kokoro) -> None:
    def length(voice: tuple[tuple[str, float], ...], speed: float) -> float:
        return seconds(list(kokoro.speak(Utterance("Una frase corta.", "es", voice, speed, float("inf")))))

    assert length(DORA, 2.0) < 0.7 * length(DORA, 1.0) < 0.7 * length(DORA, 0.5)
    assert length((("ef_dora", 0.5), ("em_alex", 0.5)), 1.0) > 0.5


def test_what_has_no_sound_and_who_is_not_there_is_refused(kokoro: Kokoro) -> None:
    with pytest.raises(Refused, match="sound"):
        list(kokoro.speak(Utterance("…", "es", DORA)))
    with pytest.raises(Refused, match="no voice"):
        list(kokoro.speak(Utterance("Hola", "es", (("nobody", 1.0),))))


def test_a_text_too_long_for_one_pass_is_said_all_the_same(kokoro: Kokoro) -> None:
    text = "palabra " * 75
    words = [
        word.text for chunk in kokoro.speak(Utterance(text, "es", DORA, 2.0, float("inf"))) for word in chunk.words
    ]
    assert words == text.split()


def test_leaving_stops_the_work(kokoro: Kokoro) -> None:
    speaking = kokoro.speak(Utterance(f"{SENTENCE} " * 4, "es", DORA, deadline=time.monotonic()))
    next(speaking)
    began = time.process_time()
    speaking.close()
    used = time.process_time()
    time.sleep(0.3)  # what went on would use a core
    assert time.process_time() - used < 0.2, f"it works on ({used - began:.2f} s to close)"


def test_the_phonemizer_is_started_anew_when_it_ended(kokoro: Kokoro) -> None:
    list(kokoro.speak(Utterance("Hola.", "es", DORA, deadline=float("inf"))))
    program = kokoro._phonemes._program
    assert program is not None
    program.kill()
    program.wait()
    assert list(kokoro.speak(Utterance("Hola.", "es", DORA, deadline=float("inf"))))


def test_a_voice_file_that_is_none_is_told_by_its_name(
    kokoro: Kokoro, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("voices")
    (folder / "ef_broken.bin").write_bytes(b"not a voice")
    from services_node.tts_server.engines.kokoro.voices import Voices

    with pytest.raises(Damaged, match=r"ef_broken\.bin"):
        Voices(folder).styles((("ef_broken", 1.0),))


def test_a_graph_that_is_none_is_told_with_what_to_do(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("kokoro")
    for name in (FRONT, OWN, FIXED):
        (folder / name).write_bytes(b"not a graph")
    with pytest.raises(Damaged, match=r"front\.onnx cannot be read") as told:
        Model(folder, 1)
    assert f"Remove {folder}" in told.value.mend


def test_packages_that_are_not_the_chosen_ones_are_refused(tmp_path_factory: pytest.TempPathFactory) -> None:
    archive = tmp_path_factory.mktemp("npm") / "kokoro-js.tgz"
    archive.write_bytes(b"something else")
    with pytest.raises(assembly.AssemblyError, match="SHA-512"):
        assembly.unpack_voices(archive, archive.parent / "voices")
    assert not (archive.parent / "voices").exists()


def rms(samples: Floats) -> float:
    return float(np.sqrt((samples**2).mean()))


def distance(one: Floats, other: Floats) -> float:
    """Mean difference of two sounds' spectra where there is speech, in dB."""
    length = min(len(one), len(other))

    def spectrum(samples: Floats) -> Floats:
        pieces = np.lib.stride_tricks.sliding_window_view(samples[:length], 1024)[::256] * np.hanning(1024)
        power = np.abs(np.fft.rfft(pieces)) ** 2
        bands = np.add.reduceat(power, np.unique(np.geomspace(4, 400, 32).astype(int)), axis=1)
        levels: Floats = 10 * np.log10(bands + 1e-4)
        return levels

    first, second = spectrum(one), spectrum(other)
    loud = first.mean(axis=1) > -10
    return float(np.abs(first - second)[loud].mean())
