"""Kokoro-82M (int8, Apache-2.0), the engine that is always there: Spanish and English on a CPU, from packages alone.

Lives here: the model's alphabet (`alphabet`), its graph cut so that a sentence is heard before it is finished
(`surgery`), what is laid down at install (`assembly`), the graphs at work (`model`), which piece is made when
(`windows`), the times of words (`timing`), voices and what is learnt of them (`voices`, `learning`), and the engine.
"""

from services_node.tts_server.engines.contract import Engine, Setup


def load(setup: Setup) -> Engine:
    """Raises Missing. What it needs is imported now: the server looks at this package too, and runs none of it."""
    from services_node.tts_server.engines.kokoro import engine

    return engine.load(setup)
