"""`python -m models_node`: the model server on this node's port; with `routes …`, the router's command."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    if sys.argv[1:2] == ["routes"]:
        from models_node.routing.command import main

        sys.exit(main(sys.argv[2:]))

    from models_node.server.app import SERVICE, create_app
    from wire.serve import serve

    sys.exit(serve(create_app, service=SERVICE))
