"""`python -m n8n.bootstrap`: what a running n8n needs of us. Done again, it changes nothing.

Writes a line for each thing that was made, changed or left out. Exit status 1 when n8n cannot be used at all; a
workflow file that is wrong is named, and the others still come in.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from n8n import files
from n8n.api import N8n, write_secret
from n8n.credentials import wanted
from n8n.environment import SERVICE
from n8n.errors import N8nError, Refused, WrongWorkflow
from n8n.installation import OFFERED, PACKAGE, made_from
from n8n.placeholders import meanings
from stack.errors import StackError
from stack.paths import N8N_OWNER, n8n_api_key_path, n8n_directory
from stack.secrets import Secrets, load_secrets
from stack.settings import Settings, get_settings
from stack.topology import Topology, load_topology

WORKFLOWS = Path(__file__).resolve().parent / "workflows"
BUILT = Path("nodes") / PACKAGE.name
CREDENTIALS = "credentials.json"  # below n8n's folder: names and ids
SIGN_IN_SECONDS = 60.0


def main() -> int:
    try:
        settings = get_settings()
        topology = load_topology(settings)
        secrets = load_secrets(settings)
        session = n8n_directory(settings) / "session"
        with N8n(f"http://{topology.local_host(SERVICE)}:{topology.port(SERVICE)}") as n8n:
            n8n.sign_in(N8N_OWNER, secrets.n8n_owner_password.get_secret_value(), SIGN_IN_SECONDS, session)
            keep_api_key(n8n, n8n_api_key_path(settings))
            for line in bring_in(n8n, settings, secrets, topology):
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()
    except (StackError, N8nError) as error:
        sys.stdout.write(f"{error}{f' ({error.mend})' if error.mend else ''}\n")
        return 1
    return 0


def keep_api_key(n8n: N8n, path: Path) -> None:
    """A key of n8n's public API, in a file that only its owner can read."""
    try:
        if n8n.knows(path.read_text(encoding="ascii").strip()):
            return
    except FileNotFoundError:
        pass
    write_secret(path, n8n.make_api_key())


def bring_in(n8n: N8n, settings: Settings, secrets: Secrets, topology: Topology) -> Iterator[str]:
    """Credentials, then workflows. Yields what is worth telling."""
    ours = n8n_directory(settings)
    if (ours / OFFERED).exists() and (ours / OFFERED).read_text(encoding="ascii") != (made_from(ours / BUILT) or ""):
        yield "its nodes of ours are of another version: ./capibara6 restart n8n"
    known = n8n.node_types()
    ids: dict[str, str] = {}
    made, there = made_credentials(ours), {str(one["id"]) for one in n8n.credentials()}
    for credential in wanted(settings, secrets, topology):
        id_ = made.get(credential.name, "")
        try:
            if id_ in there:
                n8n.change_credential(id_, credential.name, credential.type, credential.data)
            else:
                id_ = made[credential.name] = n8n.make_credential(credential.name, credential.type, credential.data)
                (ours / CREDENTIALS).write_text(json.dumps(made), encoding="utf-8")
        except Refused as error:
            yield f"the credential {credential.name!r} could not be written: {error}"
        else:
            ids[credential.name] = id_
    meant = meanings(settings, topology)
    counts = dict.fromkeys(("make", "change", "publish", "keep"), 0)
    for path in sorted(WORKFLOWS.glob("*.json")):
        try:
            workflow = files.read(path, known, meant)
            step = place_workflow(n8n, workflow, ids)
        except (WrongWorkflow, Refused) as error:
            yield f"{path.name}: {error}"
            continue
        if step in counts:
            counts[step] += 1
        elif step == "theirs":
            yield f"{workflow.name!r} was changed here and is left as it is (delete it, and ours comes again)"
    total = sum(counts.values())
    changed = counts["change"] + counts["publish"]
    if counts["make"] or changed:
        yield f"{total} workflows, {counts['make']} of them new and {changed} changed"


def made_credentials(ours: Path) -> dict[str, str]:
    """Ids by names of the credentials that were made from here: one of the team's may have the same name."""
    try:
        found: dict[str, str] = json.loads((ours / CREDENTIALS).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return found


def place_workflow(n8n: N8n, workflow: files.WorkflowFile, credential_ids: Mapping[str, str]) -> files.Step:
    """Makes or changes a workflow, or leaves it. One that can't be activated is not left behind half-made."""
    sign = files.sign_of(credential_ids)
    held = n8n.workflow(workflow.id)
    step = files.decide(workflow, held, sign)
    if step == "make":
        made = n8n.make_workflow({"id": workflow.id, **workflow.body(credential_ids, sign)})
        if workflow.active:
            try:
                n8n.activate(workflow.id, str(made["versionId"]))
            except N8nError:
                n8n.remove_workflow(workflow.id)
                raise
    elif step == "change" and held is not None:
        changed = n8n.change_workflow(workflow.id, workflow.body(credential_ids, sign))
        if held.get("active"):
            n8n.activate(workflow.id, str(changed["versionId"]))
    elif step == "publish" and held is not None:
        n8n.activate(workflow.id, str(held["versionId"]))
    return step


if __name__ == "__main__":
    sys.exit(main())
