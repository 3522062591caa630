import json
import os
import sys
from pathlib import Path

import pytest

from stack.commands import installing, main, parser
from stack.commands.lifecycle import settings_for
from stack.commands.product import environment_lines
from stack.commands.tests import PARTS, TIERS, _chosen, _side_by_side, environments_of
from stack.errors import ConfigurationError
from stack.settings import REPOSITORY, Settings
from stack.topology import load_topology

PROMISED = ("CHAT", "MODELS", "SANDBOX", "TTS", "MCP", "SMART_MCP", "N8N", "PREFECT", "FRONTEND")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("CAPIBARA6_NODE", "CAPIBARA6_PROFILE", "CAPIBARA6_TOPOLOGY", "CAPIBARA6_PORT_OFFSET"):
        monkeypatch.setenv(name, "")  # unset, and put back afterwards
    monkeypatch.setenv("CAPIBARA6_HOME", str(tmp_path))
    return tmp_path


def test_env_prints_every_promised_name(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    lines = environment_lines(settings, load_topology(settings))
    assert {f"CAPIBARA6_{name}_URL" for name in PROMISED} <= set(lines)
    assert lines["CAPIBARA6_API_KEY"] == ""
    assert "CAPIBARA6_DATABASE_URL" in lines
    assert not any(value.endswith("/") for name, value in lines.items() if name.endswith("_URL"))


def test_status_of_a_stack_that_never_ran(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--json"]) == 1
    services = json.loads(capsys.readouterr().out)["services"]
    assert {service["state"] for service in services} == {"stopped"}
    assert set(services[0]) == {"name", "node", "port", "state", "pid", "restarts"}


def test_down_without_a_stack_is_no_error() -> None:
    assert main(["down"]) == 0


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What a command would have installed."""
    asked: list[str] = []
    monkeypatch.setattr(installing, "install", lambda settings, names: asked.extend(names))
    return asked


def test_install_takes_what_up_would_and_the_engines_asked_for(
    installed: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["install"]) == 0
    assert installed == ["models", "n8n", "sandbox", "services"]
    installed.clear()
    assert main(["install", "--tts", "coqui, kyutai,coqui"]) == 0
    assert installed == ["models", "n8n", "sandbox", "services", "tts-coqui", "tts-kyutai"]
    assert str(tmp_path / "tts" / "kyutai") in capsys.readouterr().err


def test_engines_of_speech_are_refused_on_a_node_that_does_not_speak(installed: list[str]) -> None:
    assert main(["install", "--node", "models-europe", "--tts", "kyutai"]) == 3
    assert installed == []


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        (["restart"], 6, "the stack is not running"),
        (["restart", "moon"], 2, "no service is called 'moon'"),
        (["logs"], 2, "nothing was logged yet"),
        (["bench", "nothing"], 2, "no benchmark is called 'nothing'"),
        (["up", "--without", "moon"], 2, "no service is called 'moon'"),
        (["install", "--tts", "kyutai,moon"], 2, "no optional engine of speech is called 'moon'"),
    ],
)
def test_wrong_commands_say_what_to_do(
    command: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command) == status
    told = capsys.readouterr().err
    assert said in told
    assert "mend:" in told


def test_a_service_that_would_wait_for_one_left_out_is_left_out_too(tmp_path: Path) -> None:
    def without(names: str) -> set[str]:
        return {service.name for service in load_topology(Settings(home=tmp_path, without=names)).local_services()}

    assert without("") - without("prefect-server") == {"prefect-server", "flow-worker"}
    assert without("") - without("n8n, tts-server") == {"n8n", "n8n-runner", "tts-server"}
    assert without("postgres") == {"model-server", "sandbox-gateway", "mcp-server", "smart-mcp", "tts-server"}


def test_what_is_left_out_is_remembered_until_it_is_said_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CAPIBARA6_WITHOUT", "")

    def said(*words: str) -> str:
        return settings_for(parser().parse_args(["up", *words])).without

    assert said("--without", "n8n") == "n8n"
    assert said() == "n8n"
    with pytest.raises(ConfigurationError, match="no service is called 'moon'"):
        said("--without", "moon")
    assert said() == "n8n"
    assert said("--without", "") == ""


def test_production_with_loopback_is_refused_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CAPIBARA6_PROFILE", "production")
    assert main(["up", "--detach"]) == 3
    assert "loopback" in capsys.readouterr().err


@pytest.mark.parametrize("word", ["models", "routes"])
def test_product_commands_get_all_of_their_words_and_give_their_status_back(
    word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = tmp_path / "envs" / "models" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "$@" > "$CAPIBARA6_HOME/said"\nexit 4\n')
    python.chmod(0o755)
    monkeypatch.setattr("stack.commands.product.install", lambda settings, names: None)
    assert main([word, "fetch", "--catalogue", "x.toml"]) == 4
    assert (tmp_path / "said").read_text() == f"-m models_node {word} fetch --catalogue x.toml\n"


def test_the_frontend_node_has_nothing_to_run_yet(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["up", "--node", "frontend", "--detach"]) == 0
    assert "no services" in capsys.readouterr().err


def test_doctor_finds_a_wrong_setting(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CAPIBARA6_PORT_OFFSET", "many")
    assert main(["doctor", "--json"]) == 1
    [finding] = json.loads(capsys.readouterr().out)["findings"]
    assert "CAPIBARA6_PORT_OFFSET" in finding["what"]
    assert finding["mend"]


def test_optional_environments_are_made_for_their_own_tests_alone() -> None:
    optional = {"tts-kyutai", "tts-coqui"}
    assert optional <= environments_of(TIERS, [])
    assert not optional & environments_of(("unit",), [])
    assert environments_of(TIERS, ["tests/integration/db"]) == {"services"}


@pytest.mark.parametrize(
    "paths", [[], ["tests/integration"], ["tests/integration/services_node", "tests/integration/db", "tests/unit"]]
)
def test_every_test_of_a_folder_is_in_one_part(paths: list[str]) -> None:
    """What is meant by a folder above a part's is all of it, once."""
    found: list[Path] = []
    for part in PARTS:
        if part.tier == "integration" and part.environment == "services":
            apart = [REPOSITORY / "tests" / part.tier / folder for folder in part.apart]
            for chosen in _chosen(part, paths):
                files = (REPOSITORY / chosen).rglob("test_*.py")
                found += [file for file in files if not any(file.is_relative_to(folder) for folder in apart)]
    rooms = ("services_node", "db") if len(paths) > 1 else ("services_node", "db", "flows", "stack", "wire")
    wanted = {file for room in rooms for file in (REPOSITORY / "tests" / "integration" / room).rglob("test_*.py")}
    optional = {file for file in wanted if file.parent.name in ("kyutai", "coqui")}
    assert sorted(found) == sorted(wanted - optional)


def test_parts_side_by_side_are_all_run_and_the_first_that_fails_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    def run(*statuses: int) -> int:
        program = "import sys; print('said', sys.argv[1]); sys.exit(int(sys.argv[1]))"
        runs = [[sys.executable, "-c", program, str(status)] for status in statuses]
        return _side_by_side(runs, dict(os.environ))

    assert run(0, 5) == 0, "5: nothing of this part was chosen"
    assert run(0, 3, 2) == 3
    assert "said 2" in capfd.readouterr().out
