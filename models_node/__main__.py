"""`python -m models_node`: the model server on this node's port."""

from __future__ import annotations

import sys

from models_node.server.app import SERVICE, create_app
from wire.serve import serve

if __name__ == "__main__":
    sys.exit(serve(create_app, service=SERVICE))
