"""Tools of a chat turn: which are offered, how a model is asked for a call, what may be called, and calling it.

Lives here: plain values, also of the deltas a model streams (`calls`), the other ways a model asks (`guided` by a
grammar, written as `text`), what a run may do (`policy`), the calls of a turn as its steps (`running`), and where they
go (`box`: our MCP server and smart registry by `wire.clients`; `python`: the sandboxes of `flows.code`). Never here:
the turn itself (`flows.chat`), HTTP routes, a tool's own work.
In: a descriptor as MCP lists it and what a model wrote. Out: a `Call`, then its `Outcome`.
"""
