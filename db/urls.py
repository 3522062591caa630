"""Where each database is: the embedded server, or yours by `CAPIBARA6_DATABASE_URL`."""

from __future__ import annotations

from sqlalchemy import URL, make_url
from sqlalchemy.exc import ArgumentError

from stack.errors import ConfigurationError
from stack.secrets import Secrets
from stack.settings import Settings
from stack.topology import load_topology

OWN_DATABASE = "capibara6"
PREFECT_DATABASE = "prefect"
N8N_DATABASE = "n8n"  # n8n makes its tables itself
SUPERUSER = "capibara6"

_DRIVER = "postgresql+asyncpg"
_ACCEPTED = {"postgres", "postgresql", _DRIVER}


def database_url(settings: Settings, secrets: Secrets, name: str = OWN_DATABASE) -> URL:
    """The URL of a database, for asyncpg.

    An external URL's own database is ours (`capibara6` when it names none); other names replace it. libpq's `sslmode`
    becomes asyncpg's `ssl`. Raises ConfigurationError for a URL that isn't Postgres's.
    """
    if settings.database_url is None:
        topology = load_topology(settings)
        return URL.create(
            _DRIVER,
            username=SUPERUSER,
            password=secrets.database_password.get_secret_value(),
            host=topology.local_host("postgres"),
            port=topology.port("postgres"),
            database=name,
        )
    try:
        given = make_url(settings.database_url)
    except ArgumentError:
        raise ConfigurationError(
            "CAPIBARA6_DATABASE_URL is not a URL", "write it as postgresql://user:password@host:5432/capibara6"
        ) from None
    if given.drivername not in _ACCEPTED:
        raise ConfigurationError(
            f"CAPIBARA6_DATABASE_URL: {given.drivername}:// is not Postgres", "it starts with postgresql://"
        )
    query = dict(given.query)
    if "sslmode" in query:
        query["ssl"] = query.pop("sslmode")
    database = (given.database or OWN_DATABASE) if name == OWN_DATABASE else name
    return given.set(drivername=_DRIVER, database=database, query=query)


def plain_url(url: URL) -> str:
    """The same address as `postgresql://…`, password included: for programs, never for a log."""
    query = dict(url.query)
    if "ssl" in query:
        query["sslmode"] = query.pop("ssl")
    return url.set(drivername="postgresql", query=query).render_as_string(hide_password=False)


def shown_url(url: URL) -> str:
    """Host, port and database, for messages: never the password."""
    return f"{url.host}:{url.port or 5432}/{url.database}"
