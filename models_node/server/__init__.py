"""The HTTP side of the model server on 8082.

`app` puts it together; `openai`, `operators` and `older_clients` are its routes; `requests` reads and checks bodies;
`proxy` leases an engine, passes the request on and the bytes back. Decisions on memory live in `residency`, on the
choice of a model in `routing`.
"""
