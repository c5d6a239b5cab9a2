"""What is the same for all operations."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from keypeg_server.service import borrow_operations, freeing, pool_keeping, pool_operations
from keypeg_server.service.commits import Operation

MODULES = (borrow_operations, freeing, pool_keeping, pool_operations)


def operations() -> Iterator[type[Operation]]:
    """Every operation of the server."""
    for module in MODULES:
        for kind in vars(module).values():
            if (
                isinstance(kind, type)
                and kind.__module__ == module.__name__
                and issubclass(kind, Operation)
            ):
                yield kind


@pytest.mark.parametrize("kind", list(operations()))
def test_an_operation_that_writes_says_whose_home_the_server_has_to_be(
    kind: type[Operation],
) -> None:
    """Else a server that has lost a home, and does not know yet, would go on writing for it."""
    if kind is pool_keeping.Look:  # writes nothing
        assert kind.parents is Operation.parents
        assert kind.records is Operation.records
    else:
        assert kind.parents is not Operation.parents
