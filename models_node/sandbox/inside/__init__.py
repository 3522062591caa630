"""What runs in a sandbox, and nothing else.

`preload` imports everything once, in the template that sandboxes are forked from. `agent/` is pid 1 of a sandbox: it
speaks envd and the code interpreter over one socket, and starts and reaps every other process. `kernels/` is what runs
user code. Nothing here imports the rest of the product: only these files and the environment's packages are visible
inside. All of it is at the mercy of user code of the same uid, so what leaves here is untrusted.
"""
