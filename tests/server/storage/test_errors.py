"""What errors of the database say, on both kinds: they reach the log with their causes."""

from __future__ import annotations

import pytest
from sqlalchemy.exc import IntegrityError

from keypeg_server.storage.tables import MetaRow
from tests.server.databases import Place


async def test_an_error_says_nothing_of_what_was_to_be_written(place: Place) -> None:
    database = place.make()
    secret = "a hash of a secret"
    try:
        await database.write(lambda session: session.add(MetaRow(key="twice", value=secret)))
        with pytest.raises(IntegrityError) as caught:
            await database.write(lambda session: session.add(MetaRow(key="twice", value=secret)))
        assert "INSERT" in str(caught.value)
        assert secret not in str(caught.value)
    finally:
        database.close()
