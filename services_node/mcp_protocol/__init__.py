"""Serving MCP over HTTP, whatever is served: what 5003 and 5010 share.

Lives here: `/mcp` as an application in both eras of the protocol (`endpoint`). Never here: tools, resources or prompts,
a service's settings of its own, calls of other services, who may call (`wire.border`).
In: the SDK's `Server` with its handlers. Out: an ASGI application behind the border every service shares.
"""
