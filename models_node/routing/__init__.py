"""Routing: which model answers a request that may not have named one.

`Router` is the contract: a query of plain values in, a `Route` with its reason out. It never loads a model and never
sends the request anywhere. Numbers in a `Route` are computed or absent, never invented.
"""
