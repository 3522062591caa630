"""The MCP server on services:5003 (`python -m services_node.mcp_server`): tools, resources and prompts for any client.

Lives here: the registry of plain typed functions (`registry`, `arguments`, `results`), the functions themselves
(`tools/`, `resources/`, `prompts/`, gathered in `catalogue`), how one call runs (`calling`), MCP in both its eras
(`protocol`, `endpoint`, `sessions`), REST for older clients (`rest`), other people's servers (`external`).
Never here: SQL, flows, or another service's insides: what is asked of the chat API goes by HTTP (`wire.clients`).
In: MCP messages or REST requests of a principal. Out: results, progress, tool errors a model can act on.
"""
