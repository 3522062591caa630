"""The chat API on services:5000 (`python -m services_node.chat_api`).

Lives here: routes and their schemas, what a request is allowed and turned into (`asking`, `beginning`), how a turn is
told to a client (`telling`), the same for OpenAI's clients (`openai_door`), health and metrics. Never here: the turn
itself (`flows`), or SQL (`db`).
In: HTTP requests of a principal. Out: JSON, or server-sent events.
"""
