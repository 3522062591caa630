"""Kernels: the processes that run user code, one a context, forked from the agent.

Each speaks framed JSON over a socket pair (`frames`, `channel`) and writes its output to the file descriptors 1 and 2,
which the agent reads. `python` is IPython's shell in the forked process itself; `bash` and `deno` are bridges: a forked
process that drives bash, or Deno's Jupyter kernel. Nothing here listens on a network or knows of HTTP.
"""
