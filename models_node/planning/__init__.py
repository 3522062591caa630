"""What fits together in this node's memory, worked out beforehand: `./capibara6 models plan`.

`needs` reads what each model asks for from its catalogue entry and, where they are there, its weights; `room` is pure
and applies residency's own rules (its ledger, its admission, its eviction) to those numbers; `report` tells it as a
table or as JSON. Nothing here starts a process or reserves anything.
"""
