"""XTTS by Coqui's engine: a tiny one, whose decoder is as large as the real one's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from services_node.tts_server.engines.contract import Damaged, Engine, Setup, Utterance
from services_node.tts_server.engines.coqui import _import_package, load

pytestmark = [
    pytest.mark.full,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning", "ignore::FutureWarning"),
]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    root = tmp_path_factory.mktemp("xtts")
    (root / "cache").mkdir()
    setup = Setup(root, threads=1, cache=root / "cache")
    _import_package(setup)
    from tiny_coqui import make_recording, make_xtts

    made = make_xtts(root / "coqui" / "xtts")
    make_recording(made / "voices" / "marta.wav")
    (made / "voices" / "broken.wav").write_bytes(b"not audio" * 100)
    return load(setup)


def said(voice: str, language: str = "es") -> Utterance:
    return Utterance("Hola, esto es una prueba de la voz.", language, ((voice, 1.0),))


def test_its_own_voices_and_recordings_are_there_for_every_language(engine: Engine) -> None:
    assert [voice.id for voice in engine.voices()] == ["xtts-ana_florencia", "xtts-broken", "xtts-marta"]
    assert {voice.language for voice in engine.voices()} == {"mul"}


@pytest.mark.parametrize("voice", ["xtts-ana_florencia", "xtts-marta"])
@pytest.mark.parametrize("language", ["es", "en"])
def test_it_speaks_in_pieces(engine: Engine, voice: str, language: str) -> None:
    chunks = list(engine.speak(said(voice, language)))
    audio = np.concatenate([chunk.samples for chunk in chunks])
    assert engine.sample_rate == 24_000
    assert np.isfinite(audio).all()
    assert np.abs(audio).max() > 0
    assert 0.2 < len(audio) / 24_000 < 30
    assert len(chunks) > 1


def test_a_listener_who_leaves_stops_the_work(engine: Engine) -> None:
    pieces = engine.speak(said("xtts-marta"))
    next(pieces)
    pieces.close()  # type: ignore[attr-defined]
    assert list(engine.speak(said("xtts-marta")))


def test_a_broken_recording_is_told_by_its_file(engine: Engine) -> None:
    with pytest.raises(Damaged, match=r"broken\.wav can't be read"):
        list(engine.speak(said("xtts-broken")))
    assert list(engine.speak(said("xtts-marta")))


def test_a_model_without_any_voice_says_where_to_put_one(engine: Engine, tmp_path: Path) -> None:
    from tiny_coqui import make_xtts

    from services_node.tts_server.engines.contract import Missing

    make_xtts(tmp_path / "coqui" / "xtts", own_voice=False)
    (tmp_path / "cache").mkdir()
    with pytest.raises(Missing, match="no voice") as caught:
        load(Setup(tmp_path, threads=1, cache=tmp_path / "cache"))
    assert str(tmp_path / "coqui" / "xtts" / "voices") in caught.value.mend
