"""What a request does, step by step: one coroutine a kind of work, which a Prefect flow wraps.

Lives here: the chat turn (`turn`), the steps it takes (`steps`), the Prefect flow around it (`chat`), the thread that
runs flows beside the API (`runner`), keeping Prefect and our rows in step (`reconcile`), and Prefect's own server.
Never here: HTTP routes, SQL, or another service's insides: it calls services by `wire.clients` and rows by `db`.
In: a `TurnRequest`. Out: events, then a `TurnResult`. Only `chat`, `runner` and `prefect_api` import Prefect.
"""
