"""`python -m services_node.chat_api`."""

from __future__ import annotations

import sys

from services_node.chat_api.app import SERVICE, create_app
from wire.serve import serve

# Flows run in a thread beside the stream: a token must not wait the default 5 ms for the interpreter to be handed over.
SWITCH_SECONDS = 0.0005

if __name__ == "__main__":
    sys.setswitchinterval(SWITCH_SECONDS)
    sys.exit(serve(create_app, service=SERVICE))
