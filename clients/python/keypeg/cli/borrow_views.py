"""What is shown of a borrow, and of what writing it off exposes.

Promises: columns only; nothing is fetched.

Leaves to others: printing (output).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Final

from keypeg.cli.values import Column, Name, Product, State, moment, word

if TYPE_CHECKING:
    from keypeg.v1 import borrow_pb2, borrow_service_pb2


def _state(one: borrow_pb2.Borrow) -> State:
    from keypeg.v1 import borrow_pb2

    return State(word(borrow_pb2.BorrowState, one.state, "BORROW_STATE_"))


def _features(one: borrow_pb2.Borrow) -> tuple[str, ...]:
    return tuple(f"{f.feature}={f.units}" for f in one.features)


def listed(logins: Mapping[str, str], here: Collection[str]) -> list[Column[borrow_pb2.Borrow]]:
    """The columns of a listing; users by their logins, where they are known; `here`: on this computer."""
    return [
        Column("BORROW", lambda one: Name(one.name)),
        Column("PRODUCT", lambda one: Product(one.product)),
        Column("UNITS", lambda one: one.units, right=True),
        Column("USER", lambda one: logins.get(one.user) or Name(one.user)),
        Column("COMPUTER", lambda one: one.host_name or one.device),
        Column("HERE", lambda one: one.name in here),
        Column("STATE", _state),
        Column("ENDS", lambda one: moment(one, "expire_time")),
        Column("FREE AT", lambda one: moment(one, "free_time")),
        Column("FEATURES", _features),
    ]


BORROWS: Final = listed({}, ())
BORROW: Final[list[Column[borrow_pb2.Borrow]]] = [
    Column("BORROW", lambda one: Name(one.name)),
    Column("PRODUCT", lambda one: Product(one.product)),
    Column("UNITS", lambda one: one.units),
    Column("FEATURES", _features),
    Column("COMPUTER", lambda one: one.host_name or one.device),
    Column("STATE", _state),
    Column("ENDS", lambda one: moment(one, "expire_time")),
    Column("FREE AT", lambda one: moment(one, "free_time")),
]
EXPOSURE: Final[list[Column[borrow_service_pb2.WriteOffBorrowResponse]]] = [
    Column("BORROW", lambda one: Name(one.borrow.name)),
    Column("STATE", lambda one: _state(one.borrow)),
    Column("COMPUTER", lambda one: one.borrow.host_name or one.borrow.device),
    Column("UNITS EXPOSED", lambda one: one.exposure.units),
    Column("WORKS THERE UNTIL", lambda one: moment(one.exposure, "expire_time")),
    Column("EXPOSED UNTIL", lambda one: moment(one.exposure, "free_time")),
    Column("EXPOSED IN ALL", lambda one: one.exposure.exposed_count),
    Column("ALLOWED", lambda one: one.exposure.budget_count),
]
