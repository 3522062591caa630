"""`python -m n8n.server`: becomes n8n, told by variables of its own alone."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys

from n8n.environment import SERVICE, kept, nodes_folder, owner_salt, runtime, server_variables, user_folder
from n8n.installation import OFFERED, PACKAGE, made_from
from n8n.node import NODE
from stack.errors import StackError
from stack.paths import n8n_directory
from stack.secrets import load_secrets
from stack.settings import Settings, get_settings
from stack.topology import load_topology

# bcrypt's own base64 has another alphabet; n8n's library encodes the salt itself.
_HASH = """
const bcrypt = require('bcryptjs');
const { password, salt } = JSON.parse(require('fs').readFileSync(0, 'utf8'));
process.stdout.write(bcrypt.hashSync(password, '$2b$10$' + bcrypt.encodeBase64(Buffer.from(salt, 'base64'), 16)));
"""


def main() -> int:  # noqa: RET503 - what execve leaves never returns
    """Returns only when it can't be started: the exit status."""
    try:
        settings = get_settings()
        topology = load_topology(settings)
        topology.check_placement(SERVICE)
        secrets = load_secrets(settings)
        password = secrets.n8n_owner_password.get_secret_value()
        hashed = password_hash(settings, password, owner_salt(secrets))
        variables = server_variables(settings, secrets, topology, hashed)
    except StackError as error:
        sys.stderr.write(f"{SERVICE}: {error} ({error.mend})\n" if error.mend else f"{SERVICE}: {error}\n")
        return error.exit_code
    except (OSError, subprocess.SubprocessError) as error:
        sys.stderr.write(f"{SERVICE}: it is not installed whole ({error}): ./capibara6 install\n")
        return 4
    offer_nodes(settings)
    os.chdir(user_folder(settings))
    program = str(runtime(settings) / "node_modules" / "n8n" / "bin" / "n8n")
    os.execve(NODE, [str(NODE), program, "start"], kept(os.environ) | variables)  # noqa: S606 - no shell is the point


def password_hash(settings: Settings, password: str, salt: bytes) -> str:
    """bcrypt, by the library that n8n checks it with."""
    given = json.dumps({"password": password, "salt": base64.b64encode(salt).decode()})
    done = subprocess.run(
        [str(NODE), "-e", _HASH], input=given, cwd=runtime(settings), env=kept(os.environ), text=True,
        capture_output=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout


def offer_nodes(settings: Settings) -> None:
    """Puts our package, as it is compiled now, where n8n looks for those of others."""
    built = n8n_directory(settings) / "nodes" / PACKAGE.name
    user_folder(settings).mkdir(parents=True, exist_ok=True, mode=0o700)
    nodes_folder(settings).mkdir(parents=True, exist_ok=True)
    place = nodes_folder(settings) / PACKAGE.name
    if place.is_symlink():
        place.unlink()
    if built.exists() and not place.exists():
        place.symlink_to(built)
    (n8n_directory(settings) / OFFERED).write_text(made_from(built) or "", encoding="ascii")


if __name__ == "__main__":
    sys.exit(main())
