from pathlib import Path

import pytest

from stack.errors import ConfigurationError
from stack.settings import Settings, read_settings


def test_every_setting_is_described() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


def test_the_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "settings.env").write_text("CAPIBARA6_PORT_OFFSET=100\nCAPIBARA6_LOG_LEVEL=debug\n")
    monkeypatch.setenv("CAPIBARA6_PORT_OFFSET", "200")
    settings = read_settings(tmp_path)
    assert (settings.port_offset, settings.log_level) == (200, "debug")


def test_a_wrong_value_names_its_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPIBARA6_PORT_OFFSET", "many")
    monkeypatch.setenv("CAPIBARA6_PROFILE", "test")
    with pytest.raises(ConfigurationError, match=r"CAPIBARA6_PROFILE: .*; CAPIBARA6_PORT_OFFSET: ") as caught:
        read_settings(tmp_path)
    assert caught.value.mend


def test_homes_given_as_relative_paths_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings(home=Path("here")).home == tmp_path / "here"
