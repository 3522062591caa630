"""The one privileged process of the sandboxes, and the smallest: the standard library only.

It starts the template and the gateway in bubblewrap views, makes a cgroup for each sandbox, writes its user id map,
says how much it uses, and kills it. Orders come from the gateway, which is not trusted with more than asking: numbers,
limits and names are checked or chosen here. When either end goes, every sandbox goes.
"""
