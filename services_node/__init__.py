"""What runs on the node `services`: the chat API, the MCP servers, speech.

Lives here: one folder a service, each with its HTTP routes and schemas. Never here: models (they are on another node,
reached by HTTP), SQL (that is `db`), or what a request does step by step (that is `flows`).
"""
