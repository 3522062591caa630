import json
import stat
from pathlib import Path

import pytest

from stack.errors import ConfigurationError
from stack.secrets import Secrets, ensure_secrets, load_secrets, secrets_path
from stack.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(home=tmp_path)


def test_they_are_made_once_for_their_owner_only(settings: Settings) -> None:
    first = ensure_secrets(settings)
    assert stat.S_IMODE(secrets_path(settings).stat().st_mode) == 0o600
    assert ensure_secrets(settings) == first
    values = {getattr(first, name).get_secret_value() for name in Secrets.model_fields}
    assert len(values) == len(Secrets.model_fields)
    assert min(len(value) for value in values) >= 32


def test_they_do_not_print(settings: Settings) -> None:
    secrets = ensure_secrets(settings)
    assert secrets.operator_key.get_secret_value() not in f"{secrets!r} {secrets}"


def test_a_missing_one_is_added_and_the_others_stay(settings: Settings) -> None:
    before = ensure_secrets(settings)
    path = secrets_path(settings)
    kept = {k: v for k, v in json.loads(path.read_text()).items() if k != "n8n_key"}
    path.write_text(json.dumps(kept))
    after = ensure_secrets(settings)
    assert after.n8n_key != before.n8n_key
    assert after.operator_key == before.operator_key


def test_the_environment_goes_before_the_file(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    ensure_secrets(settings)
    monkeypatch.setenv("CAPIBARA6_SECRET_SERVICES_KEY", "shared-between-nodes")
    assert load_secrets(settings).services_key.get_secret_value() == "shared-between-nodes"


def test_a_file_others_can_read_is_refused(settings: Settings) -> None:
    ensure_secrets(settings)
    secrets_path(settings).chmod(0o644)
    with pytest.raises(ConfigurationError, match="other users can read it") as caught:
        load_secrets(settings)
    assert caught.value.mend.startswith("chmod 600")


def test_none_at_all_says_what_to_do(settings: Settings) -> None:
    with pytest.raises(ConfigurationError, match="missing or wrong") as caught:
        load_secrets(settings)
    assert "up" in caught.value.mend


def test_a_broken_file_is_not_overwritten(settings: Settings) -> None:
    secrets_path(settings).write_text("{")
    secrets_path(settings).chmod(0o600)
    with pytest.raises(ConfigurationError, match="not JSON"):
        ensure_secrets(settings)
    assert secrets_path(settings).read_text() == "{"
