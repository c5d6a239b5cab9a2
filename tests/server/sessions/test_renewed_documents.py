"""A session whose license document is made anew under it, for its signer was withdrawn."""

from __future__ import annotations

import pytest

from keypeg.v1.document_pb2 import Delegation
from keypeg.v1.session_pb2 import Renewed
from tests.server.sessions.world import App, World


async def renewed(app: App) -> int:
    """A renewal that the app verifies as it does; the generation of the delegation with it."""
    answer: Renewed = await app.renew(signed=True)
    verified = app.verified(answer.proof)
    assert [one.units for one in verified.leases] == [1]
    site = answer.proof.site
    return Delegation.FromString(site.delegation.payload).generation


@pytest.mark.behaviour("SEAT-1")
async def test_each_proof_is_believed_before_and_after(world: World) -> None:
    await world.add_pool(1)
    app = world.app()
    await app.open()
    await app.acquire()
    assert await renewed(app) == 1
    world.trust.replace_signer(2)
    assert await renewed(app) == 1, "what goes with the document that the session has"
    for _ in range(9):
        await world.pass_time(10)  # its license is looked at again within a minute
        latest = await renewed(app)
    assert latest == 2
    assert app.early == [], "there was nothing to tell"
    await app.close()
