"""Tests ask services of this machine thousands of times, over plain HTTP. By default httpx reads every certificate
authority anew for each call that is no client's: 40 ms of a core, most of what it costs to wait for something.
"""

from __future__ import annotations

import functools
import importlib.util


def read_once() -> None:
    """In this process. An environment without httpx (of an optional engine) has nothing to read."""
    if importlib.util.find_spec("httpx") is None:
        return
    from httpx._transports import default

    if not hasattr(default.create_ssl_context, "cache_info"):
        default.create_ssl_context = functools.cache(default.create_ssl_context)
