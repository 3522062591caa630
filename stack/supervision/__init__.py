"""Starting, watching and stopping the services of one node, on top of supervisord (http://supervisord.org).

supervisord owns the processes: restart with back-off, log rotation, process groups. Here: its configuration made from
the table of services (`config`), talking to it (`daemon`), starting by dependency and in parallel (`bringup`),
readiness (`probe`), and what is seen from outside (`state`).
"""
