"""Finding and ending what is left of engines, by the marks that all their processes carry."""

from __future__ import annotations

import psutil

from models_node.residency.warden import TRACKER_SECONDS, is_tracker
from stack.processes import end, kill_marked, marked

ENGINES_OF = "CAPIBARA6_ENGINES_OF"  # marker of every engine process, the nursery's too: the stack's id
ENGINE = "CAPIBARA6_ENGINE"  # marker of one engine's processes
END_SECONDS = 0.5


def end_marked(name: str, value: str) -> list[int]:
    """Ends every process that carries NAME=value, as a warden would: resource trackers last, for they unlink the
    shared memory of the others. Returns the pids found. Blocks for up to some seconds.
    """
    found = marked(**{name: value})
    trackers = [process for process in found if is_tracker(process.pid)]
    end([process for process in found if process not in trackers], END_SECONDS)
    psutil.wait_procs(trackers, timeout=TRACKER_SECONDS)
    kill_marked(name, value, END_SECONDS)
    return [process.pid for process in found]
