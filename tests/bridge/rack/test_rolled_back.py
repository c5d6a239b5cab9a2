"""A key whose counter fell: its proof is refused, whoever watches keys hears why, and the key stays in use."""

from __future__ import annotations

import pytest

from keypeg.errors import KeyRolledBack
from keypeg_bridge.rack.states import State
from tests.bridge.fakes import FakeKey, FakeSource
from tests.bridge.rack.conftest import OpenBench

CLAUSE = "its counter told 3 after 9"


class Copy(FakeKey):
    """A copy of a key, until it is told that it is none."""

    is_copy = False

    def signals(self) -> tuple[str, ...]:
        return (CLAUSE,) if self.is_copy else ()

    def prove(self, challenge: bytes) -> bytes:
        if self.is_copy:
            raise KeyRolledBack("It counts 3 after 9.", told="3", seen="9")
        return super().prove(challenge)


@pytest.mark.behaviour("KEY-7")
async def test_a_proof_that_counts_too_low_is_refused_and_told(open_bench: OpenBench) -> None:
    key = Copy()
    source = FakeSource()
    source.plug(key)
    async with open_bench(source) as bench:
        await bench.rack.first_look(5)
        [record] = bench.rack.records()
        assert await bench.rack.prove(record.name, "an app", bytes(32))
        key.is_copy = True
        with pytest.raises(KeyRolledBack) as refused:
            await bench.rack.prove(record.name, "an app", bytes(32))
        assert refused.value.metadata == {"told": "3", "seen": "9"}
        after = bench.rack.key(record.name)
        assert after.state is State.PRESENT
        assert after.fault == f"{CLAUSE}."
        key.is_copy = False
        assert await bench.rack.prove(record.name, "an app", bytes(32))
        assert bench.rack.key(record.name).fault == ""
