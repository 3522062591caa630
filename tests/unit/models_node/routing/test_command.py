"""`./capibara6 routes`: a team's texts are learned beside ours, and faults are one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models_node.routing import command, semantic
from models_node.routing.head import save_head
from models_node.routing.meaning import Meaning
from models_node.routing.semantic import own_head
from stack.settings import Settings
from tests.unit.models_node.routing.stand_ins import UnlikeEncoder, WordEncoder, word_head


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CAPIBARA6_HOME", str(tmp_path))
    monkeypatch.setattr(command, "load_from_packages", lambda _: Meaning(WordEncoder(), word_head()))
    return tmp_path


def line(text: str, label: str) -> str:
    return json.dumps({"text": text, "label": label, "language": "en", "kind": "plain"}) + "\n"


def test_explain_shows_the_whole_decision(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["explain", "and a table", "--before", "coding coding"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["model"], told["label"], told["incumbent"]) == ("qwen_coder", "coding", "qwen_coder")
    assert told["leaning"] > 0.9
    assert set(told["probabilities"]) == {"general", "technical", "coding", "analysis", "multilingual"}


def test_eval_judges_a_file_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text(line("coding", "coding") + line("technical", "analysis"))
    assert command.main(["eval", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["accuracy"] == 0.5
    assert command.main(["eval", str(file), "--wrong"]) == 0
    assert "analysis → technical" in capsys.readouterr().out


def test_a_faulty_file_is_one_line_that_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "own.jsonl"
    file.write_text("{")
    assert command.main(["eval", str(file)]) == 2
    assert "own.jsonl:1: not JSON" in capsys.readouterr().err


def test_train_learns_the_teams_texts_and_keeps_the_head_beside_its_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, own = tmp_path / "ours", tmp_path / "own"
    labels = ("general", "technical", "coding", "analysis", "multilingual")
    for folder, writers in ((ours, "ab"), (own, "z")):
        folder.mkdir()
        for writer in writers:
            (folder / f"{writer}-texts.jsonl").write_text(
                "".join(line(f"{label} {n}", label) for label in labels for n in range(6))
            )
    monkeypatch.setattr(command, "TRAINING", ours)
    monkeypatch.setenv("CAPIBARA6_ROUTING_TEXTS", str(own))
    monkeypatch.setattr("models_node.routing.encoder.load_encoder", lambda _: UnlikeEncoder())
    assert command.main(["train"]) == 0
    assert own_head(Settings(home=tmp_path)).is_file()
    assert "writers held out" in capsys.readouterr().out


def test_a_teams_own_head_goes_before_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models_node.routing.encoder.load_encoder", lambda _: WordEncoder())
    settings = Settings(home=tmp_path)
    save_head(word_head(abstain_below=0.42), own_head(settings))
    assert semantic.load_from_packages(settings).head.abstain_below == 0.42
