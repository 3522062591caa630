"""What every model server that runs within the tests' own process shares."""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator

import pytest

from stack.settings import Settings


@pytest.fixture(scope="session", autouse=True)
def one_encoder_for_all() -> Iterator[None]:
    """Loading the router's encoder and language identifier takes a core for seconds, and nothing changes them: the
    servers of this process, which come one after the other, share them, and no test's own times are a load's. Servers
    of their own process load theirs.
    """
    if importlib.util.find_spec("onnxruntime") is None:  # the sandboxes' environment, which has no router
        yield
        return
    from models_node.routing import encoder, semantic
    from models_node.routing.meaning import Limits

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoder, "load_encoder", functools.cache(encoder.load_encoder))
        patch.setattr(semantic, "EldIdentifier", functools.cache(semantic.EldIdentifier))
        patch.setattr(semantic, "return_memory", lambda: None)
        settings = Settings()
        encoder.load_encoder(Limits(settings.routing_max_tokens, settings.routing_threads))
        semantic.identifier_of_package()
        yield
