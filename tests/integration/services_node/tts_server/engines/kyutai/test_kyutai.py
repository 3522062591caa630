"""Kyutai's engine with real files of a tiny model: it loads them as a user's, and speaks."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from tiny_kyutai import make_model, make_recording

from services_node.tts_server.engines.contract import Damaged, Engine, EngineError, Missing, Refused, Setup, Utterance
from services_node.tts_server.engines.kyutai import load

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning", "ignore::UserWarning"
)  # torch's own, of quantising

SENTENCE = "Hola, esto es una prueba de la voz."


def said(text: str = SENTENCE, voice: str = "marta", language: str = "es", speed: float = 1.0) -> Utterance:
    return Utterance(text, language, ((voice, 1.0),), speed)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model's folder, never changed."""
    made = make_model(tmp_path_factory.mktemp("kyutai") / "spanish")
    make_recording(made / "voices" / "marta.wav")
    return made


@pytest.fixture
def setup(tmp_path: Path, model: Path) -> Setup:
    """A folder of weights of one's own, with that model in it."""
    (tmp_path / "cache").mkdir()
    shutil.copytree(model, tmp_path / "weights" / "kyutai" / "spanish")
    return Setup(tmp_path / "weights", threads=1, cache=tmp_path / "cache")


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory, model: Path) -> Engine:
    root = tmp_path_factory.mktemp("engine")
    (root / "cache").mkdir()
    shutil.copytree(model, root / "kyutai")  # the model's folder may be the engine's itself
    return load(Setup(root, threads=1, cache=root / "cache"))


def test_a_sentence_becomes_audio_of_its_rate_in_pieces(engine: Engine) -> None:
    chunks = list(engine.speak(said()))
    audio = np.concatenate([chunk.samples for chunk in chunks])
    assert engine.sample_rate == 24_000
    assert audio.dtype == np.float32
    assert np.isfinite(audio).all()
    assert 0 < np.abs(audio).max() <= 1
    assert 0.3 < len(audio) / 24_000 < 30
    assert len(chunks) > 1
    assert not any(chunk.words for chunk in chunks)


def test_voices_are_the_files_of_its_folder(engine: Engine) -> None:
    assert [(voice.id, voice.language) for voice in engine.voices()] == [("marta", "es")]
    assert not engine.mixes


def test_a_recording_is_imitated_once_and_kept(setup: Setup) -> None:
    list(load(setup).speak(said()))
    [kept] = setup.cache.glob("kyutai-voice-*")
    written = kept.stat().st_mtime_ns
    list(load(setup).speak(said()))
    assert [path.stat().st_mtime_ns for path in setup.cache.glob("kyutai-voice-*")] == [written]


def test_a_voice_that_is_ready_speaks_as_well(setup: Setup) -> None:
    list(load(setup).speak(said()))
    [kept] = setup.cache.glob("kyutai-voice-*")
    shutil.copy(kept, setup.folder / "kyutai" / "spanish" / "voices" / "lola.safetensors")
    assert list(load(setup).speak(said(voice="lola")))


def test_closing_the_iterator_ends_the_work(setup: Setup) -> None:
    shutil.rmtree(setup.folder / "kyutai" / "spanish")
    endless = make_model(setup.folder / "kyutai" / "spanish", endless=True)
    make_recording(endless / "voices" / "marta.wav")
    engine = load(setup)
    before = set(threading.enumerate())
    pieces = engine.speak(said("Una frase larga. " * 12))
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert set(threading.enumerate()) <= before
    assert next(engine.speak(said())).samples.size  # and the next one is not kept waiting


def test_two_who_speak_at_once_both_get_their_sentence(engine: Engine) -> None:
    alone = sum(len(chunk.samples) for chunk in engine.speak(said()))
    with ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: sum(len(chunk.samples) for chunk in engine.speak(said())), range(2)))
    assert both == pytest.approx([alone, alone], rel=0.5)


def test_a_model_for_each_language_and_a_voice_of_one_speaks_any(setup: Setup) -> None:
    english = make_model(setup.folder / "kyutai" / "english", "english_2026-09.yaml")
    make_recording(english / "voices" / "alba.wav")
    engine = load(setup)
    assert {(voice.id, voice.language) for voice in engine.voices()} == {("marta", "es"), ("alba", "en")}
    assert list(engine.speak(said(voice="alba", language="es")))


@pytest.mark.parametrize(
    ("utterance", "told"),
    [
        (said(voice="nobody"), "no voice 'nobody'"),
        (said(speed=1.5), "one speed"),
        (said(text="… ¡!"), "nothing to pronounce"),
    ],
)
def test_what_it_cannot_speak_is_refused(engine: Engine, utterance: Utterance, told: str) -> None:
    with pytest.raises(Refused, match=told):
        list(engine.speak(utterance))
    assert list(engine.speak(said()))


@pytest.mark.parametrize("name", ["broken.wav", "broken.safetensors"])
def test_a_broken_voice_is_told_by_its_file_and_harms_no_other(setup: Setup, name: str) -> None:
    (setup.folder / "kyutai" / "spanish" / "voices" / name).write_bytes(b"not audio" * 100)
    engine = load(setup)
    with pytest.raises(Damaged, match=name):
        list(engine.speak(said(voice="broken")))
    assert list(engine.speak(said()))


def test_a_voice_of_another_model_is_told_before_it_speaks(setup: Setup, tmp_path: Path) -> None:
    other = make_model(tmp_path / "other" / "kyutai" / "spanish", width=48)
    make_recording(other / "voices" / "marta.wav")
    (tmp_path / "others").mkdir()
    list(load(Setup(tmp_path / "other", 1, tmp_path / "others")).speak(said()))
    [foreign] = (tmp_path / "others").glob("kyutai-voice-*")
    shutil.copy(foreign, setup.folder / "kyutai" / "spanish" / "voices" / "foreign.safetensors")
    with pytest.raises(Damaged, match=r"foreign\.safetensors was made for another model"):
        list(load(setup).speak(said(voice="foreign")))


def _nothing(folder: Path) -> None:
    shutil.rmtree(folder)


def _no_tokenizer(folder: Path) -> None:
    (folder / "tokenizer.json").unlink()


def _no_voice(folder: Path) -> None:
    shutil.rmtree(folder / "voices")


def _cut_weights(folder: Path) -> None:
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def _broken_config(folder: Path) -> None:
    (folder / "spanish.yaml").write_text("flow_lm: {")


def _a_config_of_something_else(folder: Path) -> None:
    (folder / "spanish.yaml").write_text("weights_path: model.safetensors\n")


def _half_a_config(folder: Path) -> None:
    (folder / "spanish.yaml").write_text((folder / "spanish.yaml").read_text().replace("mimi:", "something:"))


def _two_configs(folder: Path) -> None:
    shutil.copy(folder / "spanish.yaml", folder / "english.yaml")


def _no_language(folder: Path) -> None:
    (folder / "spanish.yaml").rename(folder / "mine.yaml")


@pytest.mark.parametrize(
    ("harm", "kind", "told"),
    [
        (_nothing, Missing, "no weights in .*kyutai"),
        (_no_tokenizer, Missing, r"spanish/tokenizer\.json is not there"),
        (_no_voice, Missing, "no voice in .*spanish/voices"),
        (_cut_weights, Damaged, r"weights model\.safetensors in .* can't be loaded"),
        (_broken_config, Damaged, r"spanish\.yaml is no config"),
        (_a_config_of_something_else, Damaged, r"spanish\.yaml is no config"),
        (_half_a_config, Damaged, r"spanish\.yaml is no config"),
        (_two_configs, Missing, "several configs: english.yaml, spanish.yaml"),
        (_no_language, Missing, "'mine' .* does not tell the model's language"),
    ],
)
def test_what_is_missing_or_broken_is_told_with_its_mend(
    setup: Setup, harm: Callable[[Path], None], kind: type[EngineError], told: str
) -> None:
    harm(setup.folder / "kyutai" / "spanish")
    with pytest.raises(kind, match=told) as caught:
        load(setup)
    assert "\n" not in str(caught.value)
    assert caught.value.mend


def test_a_folder_without_weights_says_what_goes_where_and_how_to_install(tmp_path: Path) -> None:
    with pytest.raises(Missing) as caught:
        load(Setup(tmp_path, 1, tmp_path))
    for part in (
        str(tmp_path / "kyutai" / "spanish" / "voices"),
        "model.safetensors",
        "tokenizer.json",
        "install --tts",
    ):
        assert part in caught.value.mend
