"""Workflow files: read, checked, and compared with what n8n holds. Pure.

A workflow of ours is known by its id, `capibara6-` and its file's name. What was written into n8n is marked there with
its digest: what n8n holds and the mark does not fit was changed by the team, and is theirs from then on.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from n8n.errors import WrongWorkflow
from n8n.placeholders import filled

PREFIX = "capibara6-"
LONGEST_ID = 36  # n8n's column
MARK = "capibara6"
_NODE = (
    "id", "name", "type", "typeVersion", "parameters", "position", "webhookId", "disabled", "onError", "retryOnFail",
    "maxTries", "waitBetweenTries", "alwaysOutputData", "executeOnce",
)  # fmt: skip
_LARGEST_BYTES = 4 * 2**20

Json = dict[str, Any]
Step = Literal["make", "change", "publish", "keep", "theirs", "put away"]


@dataclass(frozen=True, slots=True)
class WorkflowFile:
    """A workflow as its file has it. credentials: the names of those that its nodes use."""

    id: str
    name: str
    active: bool
    nodes: list[Json]
    connections: Json
    settings: Json

    @property
    def digest(self) -> str:
        return digest(self.nodes, self.connections, self.settings)

    def body(self, credential_ids: Mapping[str, str], signs: str) -> Json:
        """What n8n is given. Raises WrongWorkflow for a credential that is not there."""
        nodes = []
        for node in self.nodes:
            used = {}
            for kind, credential in (node.get("credentials") or {}).items():
                name = str(credential.get("name"))
                if name not in credential_ids:
                    raise WrongWorkflow(f"{self.name}: node {node['name']!r} uses the credential {name!r}, not here")
                used[kind] = {"id": credential_ids[name], "name": name}
            nodes.append({**node, "credentials": used} if used else node)
        mark = {"digest": self.digest, "settings": self.settings, "credentials": signs}
        return {
            "name": self.name,
            "nodes": nodes,
            "connections": self.connections,
            "settings": self.settings,
            "meta": {MARK: mark},
        }


def read(path: Path, known: Mapping[str, Collection[float]], meant: Mapping[str, str]) -> WorkflowFile:
    """known: the versions of each type of node. meant: what its placeholders stand for.

    Raises WrongWorkflow, naming the file and what is wrong with it.
    """
    wrong = f"{path.name} is left out"
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            raise WrongWorkflow(f"{wrong}: it is larger than {_LARGEST_BYTES // 2**20} MiB")
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise WrongWorkflow(f"{wrong}: {error.strerror}") from None
    except ValueError as error:
        raise WrongWorkflow(f"{wrong}: it is no JSON ({error})") from None
    if not isinstance(content, dict):
        raise WrongWorkflow(f"{wrong}: it is no workflow (an object with nodes and connections)")
    nodes, connections = content.get("nodes"), content.get("connections")
    if not isinstance(nodes, list) or not nodes or not isinstance(connections, dict):
        raise WrongWorkflow(f"{wrong}: it is no workflow (an object with nodes and connections)")
    id_ = PREFIX + path.stem
    if len(id_) > LONGEST_ID:
        raise WrongWorkflow(f"{wrong}: its name is longer than {LONGEST_ID - len(PREFIX)} characters")
    for node in nodes:
        if fault := _fault(node, known):
            raise WrongWorkflow(f"{wrong}: {fault}")
    try:
        nodes = filled(nodes, meant)
    except KeyError as error:
        raise WrongWorkflow(f"{wrong}: nothing here is called capibara6://{error.args[0]}") from None
    name = str(content.get("name") or path.stem)
    settings = content.get("settings") or {}
    if not isinstance(settings, dict):
        raise WrongWorkflow(f"{wrong}: its settings are no object")
    return WorkflowFile(id_, name, bool(content.get("active", True)), nodes, connections, settings)


def _fault(node: Any, known: Mapping[str, Collection[float]]) -> str | None:
    """What is wrong with a node of a file."""
    if not isinstance(node, dict) or not all(isinstance(node.get(key), str) for key in ("name", "type")):
        return "a node has no name or no type"
    credentials = node.get("credentials") or {}
    if not isinstance(credentials, dict) or not all(isinstance(one, dict) for one in credentials.values()):
        return f"the credentials of node {node['name']!r} are not named as n8n names them"
    type_, version = node["type"], node.get("typeVersion", 1)
    if type_ not in known:
        return f"node {node['name']!r} is a {type_!r}, which this version of n8n has not"
    if version not in known[type_]:
        return f"node {node['name']!r} is version {version} of {type_!r}, which this version of n8n has not"
    return None


def decide(wanted: WorkflowFile, held: Mapping[str, Any] | None, credentials_sign: str) -> Step:
    """What to do with a file's workflow, given what n8n holds of its id."""
    if held is None:
        return "make"
    if held.get("isArchived"):
        return "put away"
    mark = (held.get("meta") or {}).get(MARK) or {}
    written = mark.get("settings") or {}
    as_written = {key: (held.get("settings") or {}).get(key) for key in written}
    if mark.get("digest") != digest(held["nodes"], held["connections"], as_written):
        return "theirs"
    if mark.get("digest") == wanted.digest and mark.get("credentials") == credentials_sign:
        # What was written last and could not be published then: another version answers.
        stale = held.get("active") and held.get("activeVersionId") != held.get("versionId")
        return "publish" if stale else "keep"
    return "change"


def sign_of(credential_ids: Mapping[str, str]) -> str:
    """Which credentials a workflow was written with."""
    return hashlib.sha256(json.dumps(sorted(credential_ids.items())).encode()).hexdigest()[:16]


def digest(nodes: list[Json], connections: Json, settings: Json) -> str:
    """The same for the same workflow, whichever ids its credentials have and however the JSON is written."""
    told = [
        {key: node[key] for key in _NODE if node.get(key) not in (None, False)}
        | {"credentials": {kind: one.get("name") for kind, one in (node.get("credentials") or {}).items()}}
        for node in nodes
    ]
    whole = json.dumps([told, connections, settings], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(whole.encode()).hexdigest()
