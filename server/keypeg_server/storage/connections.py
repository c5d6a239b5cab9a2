"""A writer's connection to PostgreSQL, as its driver has it: set up, looked at, and ended from outside.

Promises: `was_ended` sends nothing; `cut` returns at once, whatever a thread waits for on the connection.

Leaves to others: what is written, and what is done when a connection is lost (lane.py).
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Final

import psycopg
from psycopg import pq
from sqlalchemy import Connection

# How a session of the writer is; what an engine does not know of these, it goes without.
SETTINGS: Final = (
    "SET standard_conforming_strings = on",
    "SET synchronous_commit = on",
    "SET lock_timeout = '10s'",
    "SET idle_in_transaction_session_timeout = '5s'",
    "SET enable_seqscan = off",  # plans are made once, when tables may be empty: by their keys
    "SET plan_cache_mode = force_generic_plan",
)


def prepared(connection: Connection, *more: str) -> psycopg.Connection[Any]:
    """The driver's connection, set up for writing; with more settings of its own."""
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    driver.autocommit = True
    for setting in (*SETTINGS, *more):
        with suppress(psycopg.errors.DatabaseError):
            driver.execute(setting.encode())
    driver.autocommit = False
    return driver


def after(pause: float, work: Callable[[], object]) -> threading.Timer:
    timer = threading.Timer(pause, work)
    timer.daemon = True
    timer.start()
    return timer


def cut(*drivers: psycopg.Connection[Any]) -> None:
    """End connections under threads that wait for them."""
    for driver in drivers:
        with suppress(OSError, psycopg.Error):
            copy = socket.socket(fileno=os.dup(driver.pgconn.socket))
            with copy:
                copy.shutdown(socket.SHUT_RDWR)


def was_ended(driver: psycopg.Connection[Any]) -> bool:
    """Whether the other end closed an idle connection, so that nothing more need be sent on it."""
    if driver.closed:
        return True
    found = select.poll()
    found.register(driver.pgconn.socket, select.POLLIN)
    if not found.poll(0):
        return False
    try:
        driver.pgconn.consume_input()  # notices are no end
    except psycopg.Error:
        return True
    return driver.pgconn.status != pq.ConnStatus.OK
