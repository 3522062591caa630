"""The nursery: a parent that has imported vLLM already, from which engines are forked instead of started afresh.

`keeper` is the small program at the top, which outlives the parent while engines of it live; `parent` imports vLLM in
one thread and forks an engine for each request; `spawning` makes the engine's own children forks too; `link` is the
model server's side. Nothing here knows models or catalogues: a command line, variables and a folder come in, a process
goes out. Whatever fails here, the launcher starts the engine the plain way.
"""
