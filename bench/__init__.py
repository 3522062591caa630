"""Benchmarks of the running stack: each measures alternately what is ours and what it is compared with.

Each module prints one JSON object with medians and ratios (`--json FILE` writes it too) and changes nothing but what
it says. They talk to services over HTTP; only `cold_load` starts a process of its own, the plain vLLM it compares with.
"""
