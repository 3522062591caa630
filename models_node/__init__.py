"""models-europe: the model server in front of vLLM engines.

Here live the catalogue of models, the making of packaged weights, residency (which engines are in memory), routing
(which model answers) and the server on 8082. No chat, conversation, tool or database is known here. Requests come in
over HTTP at `server`, pass `routing` and `residency`, and leave to an engine's unix socket, or to a remote backend
that the catalogue and the topology name.
"""
