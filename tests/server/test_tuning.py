"""How the process uses the machine."""

from __future__ import annotations

import os
import threading

import pytest

from keypeg_server.tuning import wake_quietly


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="Linux alone has it")
def test_threads_that_are_started_later_interrupt_nobody_when_they_wake() -> None:
    seen: list[int] = []
    before = os.sched_getscheduler(0)

    def serve() -> None:
        wake_quietly()
        later = threading.Thread(target=lambda: seen.append(os.sched_getscheduler(0)))
        later.start()
        later.join()

    server = threading.Thread(target=serve)  # so that this process stays as it is
    server.start()
    server.join()
    assert seen == [os.SCHED_BATCH]
    assert os.sched_getscheduler(0) == before


@pytest.mark.skipif(not hasattr(os, "SCHED_BATCH"), reason="Linux alone has it")
def test_what_an_operator_has_set_stays() -> None:
    seen: list[int] = []

    def serve() -> None:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        wake_quietly()
        seen.append(os.sched_getscheduler(0))

    server = threading.Thread(target=serve)
    server.start()
    server.join()
    assert seen == [os.SCHED_IDLE]
