"""Benchmarks of the running stack: each measures alternately what is ours and what it is compared with.

Each module prints one JSON object with medians and ratios (`--json FILE` writes it too) and changes nothing but what
it says. They talk to services over HTTP. `cold_load` starts the plain vLLM it compares with; `chat`, `proxy` and
`sandbox` start what they measure themselves, in homes and on ports of their own.
"""
