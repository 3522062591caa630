"""Which words a model is given, in which language, and whose files go first."""

from __future__ import annotations

from pathlib import Path

from flows.prompting import OURS, PromptFolder, with_results
from flows.tools.calls import Call, Outcome


def test_every_prompt_of_ours_comes_in_both_languages() -> None:
    files = {file.relative_to(OURS).as_posix() for file in OURS.rglob("*.md")}
    assert files and {name.replace(".es.", ".en.") for name in files if ".es." in name} == {
        name for name in files if ".en." in name
    }


def test_a_models_own_prompt_goes_before_the_default_and_a_small_model_gets_none() -> None:
    prompts = PromptFolder()
    assert "programming" in prompts.system("qwen_coder", "en", small=False)
    assert "programación" in prompts.system("qwen_coder", "es", small=False)
    assert prompts.system("another", "en", small=False) == prompts.system("../../etc", "en", small=False) != ""
    assert prompts.system("qwen_coder", "en", small=True) == ""


def test_a_teams_own_files_go_first(tmp_path: Path) -> None:
    (tmp_path / "system").mkdir()
    (tmp_path / "system" / "default.es.md").write_text("Habla de usted.\n", encoding="utf-8")
    (tmp_path / "system" / "phi4_fast.es.md").write_text("", encoding="utf-8")
    prompts = PromptFolder(tmp_path)
    assert prompts.system("qwen_coder", "es", small=False) == "Habla de usted."
    assert prompts.system("phi4_fast", "es", small=False) == ""  # said to be empty
    assert prompts.task("summarise", "es") != ""


def test_a_result_or_a_failure_is_told_in_the_questions_language() -> None:
    call = Call("1", "calculate", {"expression": "2+2"}, "")
    assert "El resultado de calculate(2+2) es:\n4" in with_results("¿2+2?", (call, Outcome("4")), "es")
    assert "calculate(2+2) failed: no" in with_results("2+2?", (call, Outcome("no", "tool_failed")), "en")
