"""How the process uses the machine: how it is scheduled, and when it looks for garbage.

Promises: needs no rights, and changes nothing that an operator has set; where the system can not do it, nothing
happens.

Leaves to others: how many cores there are, and who else uses them.
"""

from __future__ import annotations

import gc
import os


def wake_quietly() -> None:
    """Let no thread of this process interrupt another when it wakes; Linux alone. Before threads are started.

    gRPC's threads wake for every frame that came or went. Each time one takes the core from the event loop, which
    has to warm its caches again, although it would have waited soon. A fifth of the work is saved when they wait
    for that (SCHED_BATCH); who sleeps is woken as before.
    """
    policy, batch = getattr(os, "SCHED_OTHER", None), getattr(os, "SCHED_BATCH", None)
    if batch is not None and os.sched_getscheduler(0) == policy:
        try:
            os.sched_setscheduler(0, batch, os.sched_param(0))
        except OSError:  # a container may forbid it
            return


def tune_garbage_collector() -> None:
    """Leave alone what lives as long as the program, and look rarely. Once everything is loaded.

    A full look at 60,000 sessions takes a tenth of a second (docs/performance.md).
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 1_000)
