"""The engines that speak, each a module behind one Protocol (`contract.Engine`) and run in a process of its own.

Lives here: the Protocol and its values (`contract`), the child process that runs an engine (`host`), the server's side
of one (`process`) and of all (`processes`), and the engines: `kokoro`, `piper`, `kyutai`, `coqui`. Never here: HTTP,
formats, Markdown, queues.
In: an `Utterance`, one sentence as it is to be spoken. Out: pieces of audio in order, with the times of its words.
A child's environment may have nothing of the server's packages: what runs there imports numpy and its engine alone.
"""
