"""What runs in a sandbox, and nothing else is visible there: this folder is bound into it, alone.

`template` imports everything once (`preload`) and forks; `confine` turns a fork into a sandbox; `agent/` is its pid 1:
it speaks envd and the code interpreter over one socket, starts and reaps every other process; `kernels/` run user code.
Nothing here imports the rest of the project. All of it is at the mercy of user code of the same uid, so what leaves
here is untrusted.
"""
