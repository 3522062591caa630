"""env, chat, code, run, say, models, routes, doctor."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from collections.abc import Sequence

from stack.doctor import examine
from stack.errors import ServiceFailed
from stack.install.environments import environment_python, install, is_complete_environment
from stack.paths import N8N_OWNER, n8n_api_key_path
from stack.secrets import load_secrets, secrets_path
from stack.settings import REPOSITORY, Settings, read_settings
from stack.topology import PLANNED_URLS, SERVICES, Topology, load_topology


def env(given: argparse.Namespace) -> int:
    settings = read_settings()
    for name, value in environment_lines(settings, load_topology(settings)).items():
        print(f"{name}={value}")
    return 0


def environment_lines(settings: Settings, topology: Topology) -> dict[str, str]:
    """What a shell, a test or another program needs to use this stack."""
    values = {f"CAPIBARA6_{s.url_name}_URL": topology.url(s.name) for s in SERVICES if s.url_name}
    for name, (node, port) in PLANNED_URLS.items():
        values[f"CAPIBARA6_{name}_URL"] = f"http://{topology.address(node)}:{port + topology.port_offset}"
    values["CAPIBARA6_DATABASE_URL"] = _database_url(settings, topology)
    asked = topology.asks_for_keys(settings.profile, "chat-api")
    values["CAPIBARA6_API_KEY"] = load_secrets(settings).operator_key.get_secret_value() if asked else ""
    if secrets_path(settings).exists():
        values |= _n8n_lines(settings)
    return values


def _n8n_lines(settings: Settings) -> dict[str, str]:
    """How a person signs in to n8n, and the key of its API once there is one."""
    key = n8n_api_key_path(settings)
    return {
        "CAPIBARA6_N8N_EMAIL": N8N_OWNER,
        "CAPIBARA6_N8N_PASSWORD": load_secrets(settings).n8n_owner_password.get_secret_value(),
        "CAPIBARA6_N8N_API_KEY": key.read_text(encoding="ascii").strip() if key.exists() else "",
    }


def chat(given: argparse.Namespace) -> int:
    return _over_http("wire.terminal_chat", given.arguments)


def code(given: argparse.Namespace) -> int:
    return _over_http("wire.terminal_code", given.arguments)


def run(given: argparse.Namespace) -> int:
    return _over_http("wire.terminal_run", given.arguments)


def say(given: argparse.Namespace) -> int:
    return _over_http("wire.terminal_say", given.arguments)


def _over_http(module: str, arguments: Sequence[str]) -> int:
    """A client of the running stack, in whichever environment is there."""
    settings = read_settings()
    for name in ("services", "models"):
        if is_complete_environment(settings, name):
            command = [str(environment_python(settings, name)), "-m", module, *arguments]
            return subprocess.run(command, check=False, env=_environment(settings)).returncode
    raise ServiceFailed("nothing is installed yet", "./capibara6 up")


def models(given: argparse.Namespace) -> int:
    """The catalogue's own command, in the models environment, which is made if it is missing."""
    return _in_models_node("models", given.arguments)


def routes(given: argparse.Namespace) -> int:
    """The router's own command, in the same environment."""
    return _in_models_node("routes", given.arguments)


def _in_models_node(word: str, arguments: Sequence[str]) -> int:
    settings = read_settings()
    install(settings, ["models"])
    command = [str(environment_python(settings, "models")), "-m", "models_node", word, *arguments]
    return subprocess.run(command, check=False, env=_environment(settings)).returncode


def doctor(given: argparse.Namespace) -> int:
    """Exit status 0 when nothing is wrong, 1 otherwise."""
    findings = examine()
    if given.json:
        print(json.dumps({"findings": [finding.as_json() for finding in findings]}))
    else:
        for finding in findings:
            print(f"{'✓' if finding.ok else '✗'} {finding.what}")
            if not finding.ok:
                print(f"    mend: {finding.mend}")
    return 0 if all(finding.ok for finding in findings) else 1


def _database_url(settings: Settings, topology: Topology) -> str:
    if settings.database_url:
        return settings.database_url
    if not secrets_path(settings).exists():
        return ""
    password = load_secrets(settings).database_password.get_secret_value()
    return f"postgresql://capibara6:{password}@127.0.0.1:{topology.port('postgres')}/capibara6"


def _environment(settings: Settings) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(REPOSITORY), "CAPIBARA6_HOME": str(settings.home)}
