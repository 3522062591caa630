"""Code execution: E2B's protocol on port 8086, over sandboxes of this machine.

`gateway/` is the service that clients see (no privileges, its own uid, no keys but its own). `launcher/` is the one
privileged process: it makes cgroups and users, and nothing else. `inside/` is what runs in a sandbox: the forked
template that is confined, the agent that speaks envd and the code interpreter, and the kernels that run user code.
Data comes in by HTTP at the gateway, goes through a socket the host made into one sandbox, and comes back as untrusted
bytes. Nothing here knows of models, but that memory is asked for from the node's ledger.
"""
