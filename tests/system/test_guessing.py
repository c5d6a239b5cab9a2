"""Guessed passwords on a real server: they are checked in a process of its own, which never outlives it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import grpc
import psutil
import pytest

from keypeg.calls import translate
from keypeg.errors import Reason
from lab.world import World
from tests.system.logs import said
from tests.system.people import Customer

pytestmark = [
    pytest.mark.own_server,
    pytest.mark.skipif(not hasattr(os, "SCHED_IDLE"), reason="ranks of processes: Linux"),
]

SOON = 20.0  # seconds, on a machine with other work


def until(true: Callable[[], bool]) -> None:
    """It becomes true soon."""
    ends = time.monotonic() + SOON
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.01)


def guess(world: World, login: str) -> psutil.Process:
    """Guess twice; the process in which the second was checked."""
    for number in range(2):
        with pytest.raises(grpc.RpcError) as caught:
            world.sign_in(login, f"a longer guess {number}")
        assert translate(caught.value).reason is Reason.CREDENTIALS_INVALID
    assert world.server is not None
    (child,) = psutil.Process(world.server.pid).children()
    return child


def gone(process: psutil.Process) -> bool:
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_nobody_guesses_nobody_is_aside(world: World, customer: Customer) -> None:
    assert world.server is not None
    world.sign_in(customer.admin_login)
    assert psutil.Process(world.server.pid).children() == []


def test_guesses_are_checked_when_nobody_else_wants_to_run(
    world: World, customer: Customer
) -> None:
    child = guess(world, customer.admin_login)
    until(lambda: os.SCHED_IDLE in {os.sched_getscheduler(thread.id) for thread in child.threads()})
    world.sign_in(customer.admin_login)  # and who knows it comes in meanwhile


@pytest.mark.parametrize("ends", [signal.SIGSTOP, signal.SIGKILL])
def test_who_knows_the_password_comes_in_when_the_process_does_not_go_on(
    world: World, customer: Customer, ends: signal.Signals
) -> None:
    child = guess(world, customer.admin_login)
    child.send_signal(ends)
    try:
        world.sign_in(customer.admin_login)
        if ends is signal.SIGKILL:  # the last before the server starts anew: there is none for 10 s
            until(
                lambda: said(
                    world, "the process that checks passwords is gone", how="ended with -9"
                )
            )
    finally:
        if ends is signal.SIGSTOP:
            child.send_signal(signal.SIGCONT)


@pytest.mark.parametrize("ends", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_the_process_ends_with_the_server(
    world: World, customer: Customer, ends: signal.Signals
) -> None:
    assert world.server is not None
    world.server.stop()
    world.serve()
    child = guess(world, customer.admin_login)
    os.killpg(os.getpgid(child.pid), ends) if ends is signal.SIGINT else world.server.signal(ends)
    world.server.wait(SOON)
    until(lambda: gone(child))
    world.serve()
    world.sign_in(customer.admin_login)
