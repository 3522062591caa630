"""Imports what a sandbox needs, once, in the process that all sandboxes are forked from."""

import os
from typing import Any


def preload() -> None:
    """Imports the agent, IPython, NumPy, pandas and matplotlib, makes the shell and draws one figure.

    Called once, before any fork. Leaves one thread, no open files, no secrets and no state of a user.
    """
    # One thread only: OpenBLAS would start its pool when NumPy is imported.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ["MPLBACKEND"] = "module://matplotlib_inline.backend_inline"

    from .agent import serving  # noqa: F401
    from .kernels.shell import make_shell

    shell: Any = make_shell()
    import e2b_charts  # type: ignore[import-untyped]  # noqa: F401
    import matplotlib.pyplot as plt
    import numpy as np  # noqa: F401
    import pandas as pd  # type: ignore[import-untyped]

    # The first cell, the first table and the first figure each import and cache a good deal.
    shell.run_cell("1 + 1", store_history=False, silent=True)
    pd.DataFrame({"a": [1]})._repr_html_()
    figure = plt.figure()
    figure.add_subplot().plot([1, 2], [1, 2])
    shell.display_formatter.format(figure)
    plt.close(figure)
    shell.run_cell("1 / 0", store_history=False, silent=True)
    for name in ("_", "__", "___"):
        shell.user_ns.pop(name, None)
