"""install: what `up` would install, and the optional engines of speech, without starting anything."""

from __future__ import annotations

import argparse

from stack.commands.lifecycle import environments_of, settings_for
from stack.errors import ConfigurationError, PlacementError
from stack.install.environments import ENVIRONMENTS, SPEECH_ENGINES, install
from stack.install.report import say
from stack.interruption import interruptible
from stack.paths import speech_directory
from stack.settings import read_settings
from stack.topology import load_topology


def install_only(given: argparse.Namespace) -> int:
    """Done again, it is quick and changes nothing. Raises ConfigurationError for an engine nobody knows."""
    engines = speech_engines(given.tts)
    node = given.node or read_settings().node
    if engines and node not in (None, "services"):
        raise PlacementError(f"speech runs on node services, and this is {node}", "leave out --tts here")
    settings = settings_for(given)
    topology = load_topology(settings)
    names = [*environments_of(topology.local_services()), *(SPEECH_ENGINES[engine] for engine in engines)]
    with interruptible():
        install(settings, names)
    say(f"installed under {settings.home}: {', '.join(['stack', *names])}")
    for engine in engines:
        folder = speech_directory(settings) / engine
        say(f"{engine}: no weights are in its packages; they go to {folder} (docs/speech-engines.md says which)")
    return 0


def speech_engines(given: str) -> list[str]:
    """The engines of `--tts a,b`, each once, in their order."""
    names = list(dict.fromkeys(name.strip() for name in given.split(",") if name.strip()))
    unknown = [name for name in names if name not in SPEECH_ENGINES]
    if unknown:
        known = ", ".join(f"{name} ({ENVIRONMENTS[SPEECH_ENGINES[name]].holds})" for name in SPEECH_ENGINES)
        raise ConfigurationError(f"no optional engine of speech is called {unknown[0]!r}", f"one or more of: {known}")
    return names
