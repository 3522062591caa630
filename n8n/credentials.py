"""The credentials that our workflows use: what each is called, its type, and what is in it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from stack.secrets import Secrets
from stack.settings import Settings
from stack.topology import Topology
from wire.principals import LOCAL
from wire.webhooks import owner_secret

NO_KEY = "none-is-asked-for"  # where a credential's type wants a key and the service does not


@dataclass(frozen=True, slots=True)
class Credential:
    """type: n8n's name of the kind. data: its fields."""

    name: str
    type: str
    data: Mapping[str, str]


def wanted(settings: Settings, secrets: Secrets, topology: Topology) -> list[Credential]:
    asked = topology.asks_for_keys(settings.profile, "chat-api")
    given = secrets.n8n_key.get_secret_value() if asked else ""
    # Without keys all that n8n does is the local user's, and so are its callbacks.
    signing_secret = owner_secret(secrets.hooks_key.get_secret_value(), "n8n" if asked else LOCAL.name)
    chat, models = topology.url("chat-api"), topology.url("model-server")
    return [
        Credential(
            "Capibara6 API",
            "capibara6Api",
            {"baseUrl": chat, "apiKey": given, "signingSecret": signing_secret, "modelServerUrl": models},
        ),
        Credential("Capibara6 models", "openAiApi", {"apiKey": given or NO_KEY, "url": f"{models}/v1"}),
        Credential("Capibara6 assistant", "openAiApi", {"apiKey": given or NO_KEY, "url": f"{chat}/v1"}),
        Credential("Capibara6 MCP", "httpBearerAuth", {"token": given or NO_KEY}),
        Credential(
            "Capibara6 header", "httpHeaderAuth", {"name": "Authorization", "value": f"Bearer {given or NO_KEY}"}
        ),
    ]
