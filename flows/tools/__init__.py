"""Tools of a chat turn: which are offered, how a model is asked for a call, what may be called, and calling it.

Lives here: plain values (`calls`), the ways a model asks (`native` deltas, `guided` grammar, calls written as `text`),
what a run may do (`policy`), and where calls go (`box`: our MCP server and smart registry by `wire.clients`, code by
the sandboxes of `flows.code`). Never here: the turn itself (`flows.chat`), HTTP routes, a tool's own work.
In: a descriptor as MCP lists it and what a model wrote. Out: a `Call`, then its `Outcome`.
"""
