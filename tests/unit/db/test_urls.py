"""Database addresses."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import SecretStr

from db.urls import database_url, plain_url, shown_url
from stack.errors import ConfigurationError
from stack.secrets import Secrets
from stack.settings import Settings

SECRETS = Secrets(**{name: SecretStr(f"{name}:/@") for name in Secrets.model_fields})


def settings(tmp_path: Path, url: str | None = None) -> Settings:
    return Settings(home=tmp_path, database_url=url, port_offset=100)


def test_the_embedded_server_is_the_default(tmp_path: Path) -> None:
    url = database_url(settings(tmp_path), SECRETS)
    assert (url.drivername, url.host, url.port, url.database) == ("postgresql+asyncpg", "127.0.0.1", 5533, "capibara6")
    assert url.password == "database_password:/@" and "database_password" not in shown_url(url)
    assert plain_url(url).startswith("postgresql://capibara6:database_password%3A%2F%40@127.0.0.1:5533/")


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+asyncpg"])
def test_every_usual_way_to_write_postgres_is_taken(tmp_path: Path, scheme: str) -> None:
    given = settings(tmp_path, f"{scheme}://u:p@db.example:6000/mine?sslmode=require")
    own, prefect = database_url(given, SECRETS), database_url(given, SECRETS, "prefect")
    assert own.drivername == prefect.drivername == "postgresql+asyncpg"
    assert (own.database, prefect.database) == ("mine", "prefect")
    assert own.query == {"ssl": "require"} and "sslmode=require" in plain_url(own)


def test_a_url_without_a_database_means_ours(tmp_path: Path) -> None:
    assert database_url(settings(tmp_path, "postgresql://u@h"), SECRETS).database == "capibara6"


@pytest.mark.parametrize("url", ["mysql://u@h/d", "nonsense", "sqlite:///x"])
def test_anything_else_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigurationError):
        database_url(settings(tmp_path, url), SECRETS)
