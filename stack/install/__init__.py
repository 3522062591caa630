"""Making the environments, from exact locks, on a machine that has nothing but Python.

`bootstrap` (standard library only) makes the small `stack` environment; inside it, `environments` makes the large
ones with uv, in parallel, and `prepared` what their packages hold in another form: weights, voices. Every step is
idempotent: what is done is skipped by the fingerprint of its lock, what was interrupted is done again.
"""
