"""Speech on services:5002 (`python -m services_node.tts_server`): a text comes in, audio goes out while it is made.

Lives here: what of a text is spoken and how (`text`, pure), the engines that speak, each in a process of its own
(`engines`), and the server between them: OpenAI's routes, voices, encoding, the queue, the cache. Never here: flows,
SQL, files of runs, a choice of what to say. In: a text, a voice, a format. Out: audio, with the times of its words.
"""
