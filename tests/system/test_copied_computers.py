"""Virtual machines that are copied and put back: never more use than owned, by real apps on copied disks."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from lab.processes import Program
from lab.world import CLOUD, Computer, World
from tests.system.people import Customer

pytestmark = pytest.mark.own_server

Namer = Callable[[str], str]


def copy_of(computer: Computer, folder: Path) -> Computer:
    """The same disk, device id and token, somewhere else."""
    shutil.copytree(computer.folder, folder, dirs_exist_ok=True)
    env = {
        key: value.replace(str(computer.folder), str(folder)) for key, value in computer.env.items()
    }
    return Computer(computer.name, folder, env)


@pytest.mark.behaviour("CLOUD-18")
def test_a_copied_machine_and_one_put_back_never_run_beside_the_first(
    world: World, customer: Customer, new_name: Namer, tmp_path: Path
) -> None:
    product = world.product(new_name("daw"), locations=[CLOUD])
    world.license(customer.account, product)
    machine = world.computer(new_name("vm"), token=customer.member_token)
    snapshot = copy_of(machine, tmp_path / "snapshot")
    first = world.app(new_name("app"), machine, product, "--cloud", "open")
    first.expect("running")
    beside = world.app(new_name("app"), machine, product, "--cloud", "never")
    beside.expect("running")
    assert first.running, "two apps of one computer are one use"

    def alone(newest: Program, *others: Program) -> None:
        newest.expect("running")
        for other in others:
            stopped = other.expect("stopped", timeout=5)
            assert stopped["reason"] == "DEVICE_COPIED"
            assert machine.device.id in stopped["sentence"]

    # Copied while it runs: the disk has the marks of both apps, and none of what the copy starts.
    clone = copy_of(machine, tmp_path / "clone")
    on_clone = world.app(new_name("app"), clone, product, "--cloud", "never")
    alone(on_clone, first, beside)
    # Put back to before anything ran, beside the copy.
    put_back = world.app(new_name("app"), snapshot, product, "--cloud", "never")
    alone(put_back, on_clone)
    # The first one again, at will.
    again = world.app(new_name("app"), machine, product, "--cloud", "never")
    alone(again, put_back)
    # Moved: the first is gone without a word, and its copy goes on.
    again.kill()
    moved = world.app(new_name("app"), clone, product, "--cloud", "never")
    moved.expect("running")
    # A restart of the server makes no difference.
    assert world.server
    world.server.kill()
    moved.expect("connection_lost", timeout=10)
    world.serve()
    moved.expect("reconnected", timeout=20)
    last = world.app(new_name("app"), machine, product, "--cloud", "never")
    alone(last, moved)
    last.stop()
