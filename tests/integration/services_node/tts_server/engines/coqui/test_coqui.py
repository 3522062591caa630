"""Coqui's engine with real files of tiny models: it loads them as a user's, and speaks."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from services_node.tts_server.engines.contract import Damaged, Engine, EngineError, Missing, Refused, Setup, Utterance
from services_node.tts_server.engines.coqui import _import_package, load
from services_node.tts_server.engines.coqui_models import SEEN_FRAMES

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning")

SENTENCE = "Hola, esto es una prueba de la voz."


def said(
    text: str = SENTENCE, voice: str = "es-tiny", language: str = "es", speed: float = 1.0, hurry: bool = False
) -> Utterance:
    return Utterance(text, language, ((voice, 1.0),), speed, hurry=hurry)


def spoken(engine: Engine, utterance: Utterance) -> list[int]:
    """The samples of each piece, after a look at them."""
    chunks = list(engine.speak(utterance))
    audio = np.concatenate([chunk.samples for chunk in chunks])
    assert audio.dtype == np.float32
    assert np.isfinite(audio).all()
    assert 0 < np.abs(audio).max() <= 1
    assert not any(chunk.words for chunk in chunks)
    return [len(chunk.samples) for chunk in chunks]


@pytest.fixture(scope="module")
def vits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder, never changed."""
    root = tmp_path_factory.mktemp("vits")
    _import_package(Setup(root, 1, root))
    from tiny_coqui import make_vits

    return make_vits(root / "es-tiny")


@pytest.fixture
def setup(tmp_path: Path, vits: Path) -> Setup:
    """A folder of weights of one's own, with that model in it."""
    (tmp_path / "cache").mkdir()
    shutil.copytree(vits, tmp_path / "coqui" / "es-tiny")
    return Setup(tmp_path, threads=1, cache=tmp_path / "cache")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, vits: Path) -> Engine:
    root = tmp_path_factory.mktemp("engine")
    (root / "cache").mkdir()
    shutil.copytree(vits, root / "coqui" / "es-tiny")
    return load(Setup(root, threads=1, cache=root / "cache"))


def test_a_sentence_becomes_audio_of_its_rate_in_pieces(engine: Engine) -> None:
    pieces = spoken(engine, said())
    assert engine.sample_rate == 22_050
    assert 0.5 < sum(pieces) / 22_050 < 30
    assert len(pieces) > 1
    assert [(voice.id, voice.language) for voice in engine.voices()] == [("es-tiny", "es")]


def test_a_first_piece_that_is_waited_for_is_short(engine: Engine) -> None:
    first, second, *_ = spoken(engine, said(hurry=True))
    assert first < second / 2


def test_pieces_of_vits_are_what_it_makes_at_once(engine: Engine) -> None:
    import torch

    from services_node.tts_server.engines.coqui_models import Vits, windows

    [model] = {model for _, model, _ in engine._voices.values()}  # type: ignore[attr-defined]
    assert isinstance(model, Vits)
    course, _ = model._course(SENTENCE, None, "es")
    with torch.inference_mode():
        whole = model._model.waveform_decoder(course)[0, 0].numpy()
        pieces = [
            model._model.waveform_decoder(course[:, :, max(0, first - SEEN_FRAMES) : last + SEEN_FRAMES])[0, 0].numpy()[
                min(first, SEEN_FRAMES) * 256 :
            ][: (last - first) * 256]
            for first, last in windows(course.shape[-1], 22_050 / 256, hurry=True)
        ]
    assert np.abs(np.concatenate(pieces) - whole).max() < 1e-5


def test_speed_changes_the_length_of_this_sentence_alone(engine: Engine) -> None:
    slow, usual, quick = (sum(spoken(engine, said(speed=speed))) for speed in (0.5, 1.0, 2.0))
    assert slow > 1.5 * usual > 1.5 * 1.3 * quick
    assert sum(spoken(engine, said())) == usual


def test_a_listener_who_leaves_stops_the_work(engine: Engine) -> None:
    pieces = engine.speak(said("Una frase larga, " * 10, hurry=True))
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert spoken(engine, said())  # the model is free again


def test_two_who_speak_at_once_both_get_their_sentence(engine: Engine) -> None:
    alone = sum(spoken(engine, said()))
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: sum(spoken(engine, said())), range(2)))
    assert both == pytest.approx([alone, alone], rel=0.5)


def test_speakers_of_a_model_are_voices_and_paths_of_another_machine_do_no_harm(setup: Setup) -> None:
    from tiny_coqui import make_vits

    shutil.rmtree(setup.folder / "coqui")
    make_vits(setup.folder / "coqui" / "es-two", speakers=("Ana\n", "Luis Pérez"))
    engine = load(setup)
    assert [voice.id for voice in engine.voices()] == ["es-two-ana", "es-two-luis_pérez"]
    assert spoken(engine, said(voice="es-two-luis_pérez"))


def test_models_of_two_rates_speak_at_one(setup: Setup) -> None:
    from tiny_coqui import make_vits

    make_vits(setup.folder / "coqui" / "en-other", rate=44_100)
    engine = load(setup)
    assert engine.sample_rate == 44_100
    seconds = sum(spoken(engine, said())) / 44_100
    assert seconds == pytest.approx(sum(spoken(engine, said(voice="en-other"))) / 44_100 * 2, rel=0.5)


@pytest.mark.parametrize(
    ("utterance", "told"),
    [
        (said(voice="nobody"), "no voice 'nobody'"),
        (said(text="… ¡!"), "nothing to pronounce"),
        (said(text="это"), "none of the letters"),
    ],
)
def test_what_it_cannot_speak_is_refused(engine: Engine, utterance: Utterance, told: str) -> None:
    with pytest.raises(Refused, match=told):
        list(engine.speak(utterance))
    assert spoken(engine, said())


def _nothing(folder: Path) -> None:
    shutil.rmtree(folder)


def _no_config(folder: Path) -> None:
    (folder / "config.json").unlink()


def _no_weights(folder: Path) -> None:
    (folder / "model.pth").unlink()


def _cut_weights(folder: Path) -> None:
    content = (folder / "model.pth").read_bytes()
    (folder / "model.pth").write_bytes(content[: len(content) // 2])


def _weights_that_run_code(folder: Path) -> None:
    import pickle

    class Bad:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (Path.touch, (folder / "ran",))  # type: ignore[return-value]

    (folder / "model.pth").write_bytes(pickle.dumps({"model": Bad()}))


def _broken_config(folder: Path) -> None:
    (folder / "config.json").write_text("{")


def _weights_of_another_shape(folder: Path) -> None:
    content = json.loads((folder / "config.json").read_text())
    content["model_args"]["hidden_channels"] = 24
    (folder / "config.json").write_text(json.dumps(content))


def _speakers_elsewhere(folder: Path) -> None:
    content = json.loads((folder / "config.json").read_text())
    content["model_args"] |= {"use_speaker_embedding": True, "speakers_file": "/somewhere/else/speakers.pth"}
    (folder / "config.json").write_text(json.dumps(content))


def _phonemes(folder: Path) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(content | {"use_phonemes": True, "phonemizer": "espeak", "phoneme_language": "es"})
    )


def _xtts_without_vocabulary(folder: Path) -> None:
    content = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(content | {"model": "xtts"}))


@pytest.mark.parametrize(
    ("harm", "kind", "told"),
    [
        (_nothing, Missing, "no weights in .*coqui"),
        (_no_config, Missing, r"es-tiny/config\.json is not there"),
        (_no_weights, Missing, r"es-tiny/model\.pth is not there"),
        (_cut_weights, Damaged, r"es-tiny can't be loaded from model\.pth"),
        (_weights_that_run_code, Damaged, r"es-tiny can't be loaded from model\.pth"),
        (_broken_config, Damaged, r"config\.json is not JSON"),
        (_weights_of_another_shape, Damaged, r"es-tiny can't be loaded from model\.pth and config\.json"),
        (_speakers_elsewhere, Missing, r"es-tiny wants .*speakers\.pth"),
        (_phonemes, Missing, "espeak-ng"),
        (_xtts_without_vocabulary, Missing, r"es-tiny/vocab\.json is not there"),
    ],
)
def test_what_is_missing_or_broken_is_told_with_its_mend(
    setup: Setup, harm: Callable[[Path], None], kind: type[EngineError], told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")  # no espeak-ng
    harm(setup.folder / "coqui" / "es-tiny")
    with pytest.raises(kind, match=told) as caught:
        load(setup)
    assert "\n" not in str(caught.value)
    assert caught.value.mend
    assert not (setup.folder / "coqui" / "es-tiny" / "ran").exists()


def test_a_folder_without_weights_says_what_goes_where_and_how_to_install(tmp_path: Path) -> None:
    with pytest.raises(Missing) as caught:
        load(Setup(tmp_path, 1, tmp_path))
    for part in (str(tmp_path / "coqui" / "es-css10"), "model.pth", "config.json", "install --tts coqui"):
        assert part in caught.value.mend


def test_torchaudio_has_lost_what_needs_cuda_and_still_resamples() -> None:
    import torch
    import torchaudio

    assert not (Path(torchaudio.__file__).parent / "lib").exists()
    assert torchaudio.functional.resample(torch.zeros(1, 2205), 22_050, 16_000).shape == (1, 1600)
