"""A server that takes only keys whose maker it trusts, with real keys, bridges and the command line."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from lab.keys import KeyLab
from lab.processes import Lab
from lab.world import World
from tests.system.people import Customer

BIN = Path(sys.executable).parent


@pytest.mark.behaviour("KEY-9")
@pytest.mark.long
def test_a_server_enrolls_attested_keys_and_no_others_where_its_settings_ask_for_it(
    tmp_path: Path, made_data: Path
) -> None:
    roots = tmp_path / "makers.pem"
    with Lab(tmp_path / "lab") as lab:
        roots.write_text(lab.run([os.fspath(BIN / "keypeg-emukey"), "attestation-root"]).stdout)
        settings = f'[keys]\nallow_emulated = true\nattestation_roots = "{roots}"\n'
        world = World(lab, settings=settings, like=made_data)
        customer = Customer(world)
        silent, telling = KeyLab(lab, "silent"), KeyLab(lab, "telling")
        try:
            silent.start_key("standard")
            telling.start_key("token")
            for keys in (silent, telling):
                keys.start_bridge()
            computer = world.computer("one", token=customer.admin_token, bridge=silent.target)
            silent.wait_for_key(lambda: world.keypeg(computer, "key", "list")[1])
            command = [os.fspath(BIN / "keypeg"), "key", "enroll"]
            refused = lab.run(command, env=computer.env, check=False)
            assert refused.returncode == 5
            assert "keys.attestation_roots" in refused.stderr
            assert "nothing of its maker" in refused.stderr

            other = world.computer("two", token=customer.admin_token, bridge=telling.target)
            telling.wait_for_key(lambda: world.keypeg(other, "key", "list")[1])
            world.keypeg(other, "key", "enroll")
            (key,) = world.keypeg(other, "key", "list")[1]
            assert key["enrolled"] is True
        finally:
            for keys in (silent, telling):
                keys.close()
