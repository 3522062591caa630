"""`python -m services_node.tts_server`."""

from __future__ import annotations

import sys

from services_node.tts_server.app import SERVICE, create_app
from wire.serve import serve

if __name__ == "__main__":
    sys.exit(serve(create_app, service=SERVICE))
