"""Who may write to a card: its challenge and the server's answer, relayed, for every algorithm that a card may have."""

from __future__ import annotations

from pathlib import Path

import pytest

from keypeg.management import ManagementAlgorithm
from keypeg_bridge.emulator.piv.session import Profile
from keypeg_bridge.keys.piv import PivDriver
from keypeg_bridge.rack.sources import DriverKey
from keypeg_server.service.locations import ALGORITHMS, WriteAuthorization, WriteRequest
from tests.bridge.cards import CARDS, DirectKey
from tests.server.service.office import Office

FACTORY = [ManagementAlgorithm.TRIPLE_DES, ManagementAlgorithm.AES_128, ManagementAlgorithm.AES_192]


async def answered(office: Office, key: DriverKey) -> WriteAuthorization:
    """What the server says to the key's challenge, given to the key."""
    identity, able = key.identity(), key.probe()
    assert identity.card_id is not None
    asked = WriteRequest(
        identity.card_id.hex(),
        ALGORITHMS[able.management_algorithm],
        key.begin_authorization(),
        identity.factory_key,
        identity.emulated,
    )
    answer = await office.locations.authorize_write("studio", asked)
    key.finish_authorization(answer.response)
    return answer


@pytest.mark.parametrize("algorithm", [*FACTORY, "standard"])
async def test_a_server_writes_to_a_card_before_and_after_it_has_given_it_a_key_of_its_own(
    tmp_path: Path, algorithm: ManagementAlgorithm | str
) -> None:
    profile = (
        CARDS["standard"]
        if algorithm == "standard"
        else Profile("card", True, int(algorithm), 3_052, 40_000)
    )
    card = DirectKey(profile)
    office = Office(tmp_path, allow_emulated=True)
    try:
        await office.furnish()
        key = DriverKey(PivDriver(card.pipe()))
        answer = await answered(office, key)
        key.set_management_key(answer.new_algorithm, answer.new_key)
        key.generate_identity_key()
        key.write(1, b"first")
        key.end_authorization()
        again = DriverKey(PivDriver(card.pipe()))  # on another day
        later = await answered(office, again)
        again.write(1, b"second")
        assert again.read(1) == b"second"
        assert again.identity().factory_key == (algorithm == "standard")
        if algorithm != "standard":
            assert later.new_key == b""
            wanted = (
                ManagementAlgorithm.TRIPLE_DES if algorithm == 3 else ManagementAlgorithm.AES_256
            )
            assert card.applet.state.management_algorithm == wanted
            assert card.applet.state.management_key == answer.new_key
    finally:
        await office.close()
