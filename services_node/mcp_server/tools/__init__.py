"""The tools this server offers: one file a tool or a family, each with a `registry` of plain typed functions.

What a tool works out itself lies in a package beside it (`calculation`, `fetching`). What belongs to the caller (code,
runs, conversations) is asked of the chat API, on the caller's behalf (`assistant.py`). Nothing here speaks MCP.
"""
