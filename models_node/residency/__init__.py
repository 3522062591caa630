"""Residency: which engines are in memory, who waits for one, and who must go to make room.

`decide` is pure: plain values in, a plan out. `pool` is the one task that owns the state; everyone else sends it
messages. `engine` and `warden` act: they start vLLM, notice its end, and leave no process behind. Nothing here knows
HTTP routes or reads a request's body; a lease on an engine's address is what goes out.
"""
