"""Residency: which engines are in memory, who waits for one, and who must go to make room.

`core` is a pure state machine (events in, effects out) over the pure rules of `decide`, `admission`, `ledger` and
`breaker`. `pool` is the one task that owns it: everyone else sends it events, and gets a lease on an engine's address.
`lifecycle`, `engine`, `warden` and `nursery/` act: they start vLLM, notice its end, and leave no process behind.
Nothing here knows HTTP routes or reads a request's body. Policies: docs/residency.md; processes: docs/engines.md.
"""
