"""Which engines there are, and where each lives."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Known:
    """module: has `load(setup) -> Engine`. environment: whose Python it runs in. languages, speeds: what it takes.
    by_voice: a voice speaks its own language alone, so an engine that runs takes those of its voices. always: kept
    running from the server's start on; others start when they are asked for, and end when they idle."""

    name: str
    environment: str
    module: str
    languages: tuple[str, ...] = ("es", "en")
    speeds: tuple[float, float] = (0.25, 4.0)
    by_voice: bool = False
    always: bool = False


_HERE = "services_node.tts_server.engines"
ENGINES: dict[str, Known] = {
    known.name: known
    for known in (
        Known("kokoro", "services", f"{_HERE}.kokoro", speeds=(0.5, 2.0), always=True),
        Known("piper", "services", f"{_HERE}.piper", languages=("en",), by_voice=True),
        Known("kyutai", "tts-kyutai", f"{_HERE}.kyutai", speeds=(1.0, 1.0)),
        Known("coqui", "tts-coqui", f"{_HERE}.coqui"),
    )
}
