"""`python -m services_node.smart_mcp`."""

from __future__ import annotations

import sys

from services_node.smart_mcp.app import SERVICE, create_app
from wire.serve import serve

if __name__ == "__main__":
    sys.exit(serve(create_app, service=SERVICE))
