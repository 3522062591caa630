"""Prefect's own settings, as environment variables, made from ours. Set before anything imports Prefect."""

from __future__ import annotations

from db.urls import PREFECT_DATABASE, database_url
from stack.secrets import Secrets
from stack.settings import Settings
from stack.topology import keys_needed, load_topology

_QUIET = {
    "DO_NOT_TRACK": "1",  # the SDK's telemetry
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
}


def server_environment(settings: Settings, secrets: Secrets) -> dict[str, str]:
    """For the server: our Postgres, no telemetry, the address a browser reaches its API at."""
    url = database_url(settings, secrets, PREFECT_DATABASE)
    return {
        **_QUIET,
        "PREFECT_HOME": str(settings.home / "prefect"),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": url.render_as_string(hide_password=False),
        "PREFECT_SERVER_UI_API_URL": f"{load_topology(settings).url('prefect-server')}/api",
        # A batch that waits for another's end looks for it this often; by default its start is up to 30 s late.
        "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "5",
        # A batch holds its place by a lease. By default a restarted server knows none, and ends who asks to renew one.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        **_with_key(settings, secrets, "PREFECT_SERVER_API_AUTH_STRING"),
    }


def client_environment(settings: Settings, secrets: Secrets) -> dict[str, str]:
    """For the chat API's flows: where the server is, and no work a chat turn doesn't need."""
    return {
        **_QUIET,
        "PREFECT_HOME": str(settings.home / "prefect"),
        "PREFECT_API_URL": f"{load_topology(settings).url('prefect-server')}/api",
        "PREFECT_LOGGING_TO_API_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "ERROR",
        "PREFECT_LOGGING_SETUP_ONCE": "true",
        "PREFECT_RESULTS_PERSIST_BY_DEFAULT": "false",
        "PREFECT_CLIENT_MAX_RETRIES": "0",  # when it is down we don't wait: what was missed is recorded later
        "PREFECT_CLIENT_CSRF_SUPPORT_ENABLED": "false",
        "PREFECT_CLIENT_SERVER_VERSION_CHECK_ENABLED": "false",
        "PREFECT_API_REQUEST_TIMEOUT": "10",
        "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "false",
        **_with_key(settings, secrets, "PREFECT_API_AUTH_STRING"),
    }


def _with_key(settings: Settings, secrets: Secrets, variable: str) -> dict[str, str]:
    """In profile `production`, or beyond loopback, Prefect's pages and API ask for `operator:<operator key>`."""
    if not keys_needed(settings, "prefect-server"):
        return {}
    return {variable: f"operator:{secrets.operator_key.get_secret_value()}"}
