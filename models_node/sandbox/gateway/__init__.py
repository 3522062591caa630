"""The sandbox gateway (8086): what speaks E2B's protocol to clients, without privileges and without models' keys.

`core.py` decides what becomes of every sandbox and creation, as pure code over events; `sandboxes.py` is the one task
that owns it, and carries its effects out through the launcher (`launching.py`) and the node's ledger (`memory.py`).
`control.py` is E2B's control plane; `dataplane.py` checks tokens and paths and passes the rest to the sandbox's agent
(`upstream.py`), whose answers are untrusted bytes. `egress.py` is the one way out of a sandbox, closed by default.
Data comes in by HTTP; it goes out through a unix socket a sandbox, which this process made and listens on.
Never here: anything that runs a client's code, or that needs root.
"""
