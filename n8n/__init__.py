"""n8n as its makers publish it, on our Postgres, with our workflows and our nodes.

Lives here: the pinned runtime (`runtime`: package.json and its lock), how it is put together (`installation`), what it
is told (`environment`), its process (`server`), that of its code nodes (`runner`), and what `up` writes into it once it
answers (`bootstrap`, with `api`, `credentials`, `files` and `placeholders`): credentials and the workflows of
`workflows/`. `nodes/` is the TypeScript package of our own nodes.
Never here: product logic. n8n calls the services over HTTP as any client does, and they call it by its webhooks.
In: settings, secrets, topology, workflow files. Out: a running n8n. Needs no package beside `stack`'s and Node's wheel.
"""
