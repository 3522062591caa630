"""The stack as an installation: topology, settings, secrets, environments, supervision, doctor.

Lives here: which service runs on which node and port, how its process is started, watched and stopped, and the
`./capibara6` command line. Never here: product logic. A command that belongs to a service is handed to
`python -m <room>` in that room's own environment.

Data in: `topology.toml`, `CAPIBARA6_*` variables, `requirements/*.lock`. Data out: processes, files under
`CAPIBARA6_HOME`, and the interfaces other programs read: `status --json`, `env`, exit codes.
"""
