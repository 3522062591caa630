"""What runs in a sandbox, and nothing else is visible there: this folder is bound into it, alone.

`template.py` imports everything once and forks; `confine.py` turns a fork into a sandbox; `agent/` then speaks envd and
the code interpreter as its pid 1; `kernels/` run user code. Nothing here imports the rest of the project.
"""
