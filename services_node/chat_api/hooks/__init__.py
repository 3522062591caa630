"""Who is told of ended runs: hooks (an owner's), callbacks (a run's), and the telling itself.

Lives here: the routes of hooks (`routes`), which addresses may be told (`addresses`), what an event says (`events`),
what a try means (`deciding`, pure), the try itself (`sending`), and the task that tells everybody in order
(`delivering`). Signatures are `wire.webhooks`', rows `db.hooks`' and `db.outbox`'s.
In: events that the database wrote when runs ended. Out: signed POSTs.
"""
