"""Routing: which model answers a request that may not have named one.

`router` is the contract: a query of plain values in, a `Route` with its reason out. `decide` is the whole decision,
built from pure parts: `facts` (images, tools, length), `language`, `meaning` (encoder and head), `choice` (scores,
conversation, waits). `semantic` runs it in service, in a thread of its own. `packaged`, `graph` and `encoder` make
features of a text; `texts`, `training`, `evaluation` and `command` teach and judge (`./capibara6 routes`).

It never loads a model and never sends the request anywhere. Numbers in a `Route` are computed or absent, never made
up.
"""
