"""An agent without a sandbox around it, for tests and development: it runs code as whoever starts it.

`python -m models_node.sandbox.inside.agent (--socket PATH | --port PORT) --home DIR`
"""

import argparse
import os
import socket
from pathlib import Path

from ..preload import preload
from . import AgentLimits, serve


def main() -> None:
    """Listens on a unix socket, or on 127.0.0.1, and serves."""
    parser = argparse.ArgumentParser(prog="agent", description=__doc__)
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--socket", type=Path, help="unix socket to listen on")
    where.add_argument("--port", type=int, help="port of 127.0.0.1 to listen on (0: any, printed)")
    parser.add_argument("--home", type=Path, required=True, help="the home folder of `user`")
    parser.add_argument("--output-bytes", type=int, default=10 * 2**20)
    parser.add_argument("--execution-seconds", type=float, default=300)
    parser.add_argument("--upload-bytes", type=int, default=100 * 2**20)
    parser.add_argument("--stall-seconds", type=float, default=30)
    options = parser.parse_args()
    preload()
    if options.socket is not None:
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        listener.bind(str(options.socket))
    else:
        listener = socket.create_server(("127.0.0.1", options.port))
        # Inherited by what it accepts. Without it, a streamed answer waits 40 ms for the client's acknowledgement.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    listener.listen(128)
    print(listener.getsockname(), flush=True)  # noqa: T201
    os.chdir(options.home)
    limits = AgentLimits(options.output_bytes, options.execution_seconds, options.upload_bytes, options.stall_seconds)
    serve(listener, limits, home=options.home)


if __name__ == "__main__":
    main()
