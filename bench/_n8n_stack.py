"""n8n and its code runner beside a stack that is measured: the installed packages, files of its own."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterator
from typing import Any

import httpx

from bench._beside import beside
from bench._chat_stack import ChatStack
from n8n.api import N8n
from stack.paths import N8N_OWNER, n8n_directory

SIGN_IN_SECONDS = 60.0
LISTENS_SECONDS = 30.0


@contextlib.contextmanager
def n8n_beside(stack: ChatStack) -> Iterator[N8n]:
    """A running n8n, signed in to."""
    with beside(stack, ("n8n", "n8n-runner")), N8n(stack.topology.url("n8n")) as n8n:
        password = stack.secrets.n8n_owner_password.get_secret_value()
        n8n.sign_in(N8N_OWNER, password, SIGN_IN_SECONDS, n8n_directory(stack.settings) / "session")
        yield n8n


def publish(n8n: N8n, stack: ChatStack, name: str, nodes: list[dict[str, Any]]) -> str:
    """A workflow whose nodes follow each other, the first a webhook of path `name`. Returns its address, once it
    answers.
    """
    placed = [
        {"id": str(place), "typeVersion": 1, "position": [200 * place, 0], **node} for place, node in enumerate(nodes)
    ]
    connections = {
        one["name"]: {"main": [[{"node": other["name"], "type": "main", "index": 0}]]}
        for one, other in itertools.pairwise(placed)
    }
    made = n8n.make_workflow(
        {"name": name, "nodes": placed, "connections": connections, "settings": {"executionOrder": "v1"}}
    )
    n8n.activate(str(made["id"]), str(made["versionId"]))
    url, deadline = f"{stack.topology.url('n8n')}/webhook/{name}", time.monotonic() + LISTENS_SECONDS
    while (reply := httpx.post(url, json={}, timeout=60, trust_env=False)).status_code == 404:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the webhook {name} does not listen: {reply.text[:300]}")
        time.sleep(0.2)
    if reply.status_code != 200:
        raise RuntimeError(f"the webhook {name} answers {reply.status_code}: {reply.text[:300]}")
    return url


def webhook(name: str) -> dict[str, Any]:
    return {
        "name": "Webhook",
        "type": "n8n-nodes-base.webhook",
        "typeVersion": 2,
        "webhookId": f"bench-{name}",
        "parameters": {"httpMethod": "POST", "path": name, "responseMode": "responseNode"},
    }


def respond(expression: str) -> dict[str, Any]:
    """expression: of n8n's, whose value is the JSON that is answered."""
    return {
        "name": "Respond",
        "type": "n8n-nodes-base.respondToWebhook",
        "typeVersion": 1.1,
        "parameters": {"respondWith": "json", "responseBody": f"={{{{ {expression} }}}}"},
    }
