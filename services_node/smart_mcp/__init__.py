"""The light MCP server on services:5010 (`python -m services_node.smart_mcp`), for small models that drown in tools.

Lives here: what is known of the tools of services:5003 (`catalogue`), which of them a question needs (`words`,
`patterns`, `question`, `signals`, `selection`; pure), the protocol that offers those and forwards calls (`protocol`,
`upstream`), and the older clients' `/analyze` (`contexts`). Never here: a tool's own work, SQL, flows, a model.
In: a question, or an MCP client's call. Out: the few tools that the question needs, or what 5003 answered.
"""
