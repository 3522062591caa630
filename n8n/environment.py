"""What n8n and its runner are told, as their own environment variables, made from our settings. Pure.

n8n is given no variable of ours: a workflow's expressions cannot read the stack's keys even where `$env` is opened.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from stack.errors import ConfigurationError
from stack.paths import N8N_OWNER, n8n_directory
from stack.secrets import Secrets
from stack.settings import Settings
from stack.topology import Topology, is_loopback

SERVICE, RUNNER = "n8n", "n8n-runner"
DATABASE = "n8n"
BROKER_PORT = 5679  # where the runner asks for tasks; n8n's own default
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS")
OURS = ("CAPIBARA6_STACK_ID", "CAPIBARA6_SERVICE")  # by these a process is found and ended

_SILENT = {
    "N8N_DIAGNOSTICS_ENABLED": "false",
    "N8N_VERSION_NOTIFICATIONS_ENABLED": "false",
    "N8N_VERSION_NOTIFICATIONS_WHATS_NEW_ENABLED": "false",
    "N8N_TEMPLATES_ENABLED": "false",
    "N8N_PERSONALIZATION_ENABLED": "false",
    "N8N_HIRING_BANNER_ENABLED": "false",
    "N8N_DYNAMIC_BANNERS_ENABLED": "false",
    "N8N_AI_ENABLED": "false",
    "N8N_LICENSE_AUTO_RENEW_ENABLED": "false",
    # Packages in the folder of nodes are loaded; looking for others, or for what n8n vouches for, goes outside.
    "N8N_COMMUNITY_PACKAGES_ENABLED": "true",
    "N8N_VERIFIED_PACKAGES_ENABLED": "false",
    "N8N_DISABLED_MODULES": "mcp-registry,instance-ai,chat-hub",
}


def runtime(settings: Settings) -> Path:
    return n8n_directory(settings) / "runtime"


def user_folder(settings: Settings) -> Path:
    """n8n keeps its files in `.n8n` below it."""
    return n8n_directory(settings) / "user"


def nodes_folder(settings: Settings) -> Path:
    """Where n8n looks for community packages."""
    return user_folder(settings) / ".n8n" / "nodes" / "node_modules"


def broker_port(topology: Topology) -> int:
    return BROKER_PORT + topology.port_offset


def kept(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name in (*KEPT, *OURS)}


def server_variables(settings: Settings, secrets: Secrets, topology: Topology, password_hash: str) -> dict[str, str]:
    """For `n8n start`. password_hash: bcrypt, of the owner's password."""
    url = topology.url(SERVICE)
    secure = url.startswith("https://")
    ranges, names = reachable(topology)
    return {
        **_SILENT,
        **database_variables(settings, secrets, topology),
        "NODE_ENV": "production",
        "N8N_USER_FOLDER": str(user_folder(settings)),
        "N8N_ENFORCE_SETTINGS_FILE_PERMISSIONS": "true",
        "N8N_ENCRYPTION_KEY": secrets.n8n_encryption_key.get_secret_value(),
        "N8N_USER_MANAGEMENT_JWT_SECRET": derived(secrets, "sessions"),
        "N8N_LISTEN_ADDRESS": topology.bind_host(SERVICE),
        "N8N_HOST": urlsplit(url).hostname or "127.0.0.1",
        "N8N_PORT": str(topology.port(SERVICE)),
        "N8N_PROTOCOL": "https" if secure else "http",
        "N8N_SECURE_COOKIE": "true" if secure else "false",
        "N8N_EDITOR_BASE_URL": f"{url}/",
        "WEBHOOK_URL": f"{url}/",
        "N8N_INSTANCE_OWNER_MANAGED_BY_ENV": "true",
        "N8N_INSTANCE_OWNER_EMAIL": N8N_OWNER,
        "N8N_INSTANCE_OWNER_FIRST_NAME": "Capibara6",
        "N8N_INSTANCE_OWNER_LAST_NAME": "Owner",
        "N8N_INSTANCE_OWNER_PASSWORD_HASH": password_hash,
        "N8N_RUNNERS_MODE": "external",
        "N8N_RUNNERS_AUTH_TOKEN": secrets.n8n_runner_token.get_secret_value(),
        "N8N_RUNNERS_BROKER_LISTEN_ADDRESS": "127.0.0.1",
        "N8N_RUNNERS_BROKER_PORT": str(broker_port(topology)),
        "N8N_PYTHON_ENABLED": "false",  # its runner is in no package; code of any length runs in our sandboxes
        "N8N_SSRF_PROTECTION_ENABLED": "true",
        "N8N_SSRF_ALLOWED_IP_RANGES": ",".join(ranges),
        "N8N_SSRF_ALLOWED_HOSTNAMES": ",".join(names),
        "N8N_PUBLIC_API_SWAGGERUI_DISABLED": "true",
        "N8N_METRICS": "true" if _alone(topology) else "false",  # n8n asks nobody for a key to read them
        "N8N_DEFAULT_BINARY_DATA_MODE": "filesystem",
        "N8N_DEFAULT_LOCALE": settings.n8n_locale,
        "N8N_CONCURRENCY_PRODUCTION_LIMIT": str(settings.n8n_executions_at_once),
        "N8N_GRACEFUL_SHUTDOWN_TIMEOUT": str(int(settings.graceful_stop_seconds)),
        "N8N_LOG_LEVEL": {"warning": "warn"}.get(settings.log_level, settings.log_level),
        "EXECUTIONS_DATA_PRUNE": "true",
        "EXECUTIONS_DATA_MAX_AGE": str(settings.n8n_executions_kept_hours),
        "EXECUTIONS_DATA_PRUNE_MAX_COUNT": str(settings.n8n_executions_kept),
        "GENERIC_TIMEZONE": settings.time_zone,
    }


def runner_variables(settings: Settings, topology: Topology, grant_token: str) -> dict[str, str]:
    """For the process that runs the code of Code nodes: it is given nothing it could give away.

    grant_token: n8n's, for one registration.
    """
    return {
        "N8N_RUNNERS_GRANT_TOKEN": grant_token,
        "N8N_RUNNERS_TASK_BROKER_URI": f"http://127.0.0.1:{broker_port(topology)}",
        "N8N_RUNNERS_HEALTH_CHECK_SERVER_ENABLED": "true",
        "N8N_RUNNERS_HEALTH_CHECK_SERVER_HOST": "127.0.0.1",
        "N8N_RUNNERS_HEALTH_CHECK_SERVER_PORT": str(topology.port(RUNNER)),
        "N8N_RUNNERS_AUTO_SHUTDOWN_TIMEOUT": "0",  # it waits for work as long as n8n runs
        "N8N_RUNNERS_MAX_CONCURRENCY": str(settings.n8n_code_at_once),
        "GENERIC_TIMEZONE": settings.time_zone,
    }


def database_variables(settings: Settings, secrets: Secrets, topology: Topology) -> dict[str, str]:
    """The database `n8n` on the installation's Postgres. Raises ConfigurationError for a URL that names no server."""
    found = {
        "DB_TYPE": "postgresdb",
        "DB_POSTGRESDB_DATABASE": DATABASE,
        "DB_POSTGRESDB_POOL_SIZE": str(settings.n8n_database_connections),
    }
    if settings.database_url is None:
        return found | {
            "DB_POSTGRESDB_HOST": topology.local_host("postgres"),
            "DB_POSTGRESDB_PORT": str(topology.port("postgres")),
            "DB_POSTGRESDB_USER": "capibara6",
            "DB_POSTGRESDB_PASSWORD": secrets.database_password.get_secret_value(),
        }
    try:
        url = urlsplit(settings.database_url)
        port = url.port or 5432
    except ValueError:
        url, port = urlsplit(""), 0
    if not url.hostname:
        raise ConfigurationError(
            "CAPIBARA6_DATABASE_URL names no server", "write it as postgresql://user:password@host:5432/capibara6"
        )
    found |= {
        "DB_POSTGRESDB_HOST": url.hostname,
        "DB_POSTGRESDB_PORT": str(port),
        "DB_POSTGRESDB_USER": unquote(url.username or ""),
        "DB_POSTGRESDB_PASSWORD": unquote(url.password or ""),
    }
    if any(f"sslmode={mode}" in url.query for mode in ("require", "verify-ca", "verify-full")):
        checked = "verify" in url.query
        found |= {
            "DB_POSTGRESDB_SSL_ENABLED": "true",
            "DB_POSTGRESDB_SSL_REJECT_UNAUTHORIZED": "true" if checked else "false",
        }
    return found


def reachable(topology: Topology) -> tuple[list[str], list[str]]:
    """The private addresses that workflows may call: the nodes', as ranges and as names."""
    ranges, names = [], []
    for address in dict.fromkeys(entry.address for entry in topology.nodes.values()):
        try:
            ip = ipaddress.ip_address(address)
        except ValueError:
            names.append(address)
        else:
            ranges.append(f"{ip}/{ip.max_prefixlen}")
    return ranges, names


def owner_salt(secrets: Secrets) -> bytes:
    """The 16 bytes that the owner's password is hashed with: the same at every start, for a hash that changes ends
    everybody's session."""
    return bytes.fromhex(derived(secrets, "owner's salt"))[:16]


def derived(secrets: Secrets, purpose: str) -> str:
    """A secret of its own for a purpose, from n8n's encryption key (HMAC-SHA256, in hexadecimal)."""
    key = secrets.n8n_encryption_key.get_secret_value().encode()
    return hmac.new(key, purpose.encode(), hashlib.sha256).hexdigest()


def _alone(topology: Topology) -> bool:
    return is_loopback(topology.bind_host(SERVICE))
