"""Launches in every way: on another computer, at a desktop, from the command line, where nobody is."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from lab.processes import BIN
from lab.world import APP, CLOUD, PASSWORD, World
from tests.client.launch.screen import INSTALL, press, virtual_screen
from tests.system.people import Customer
from tests.system.terminal import Terminal, at_terminal

Namer = Callable[[str], str]


@pytest.mark.behaviour("CLOUD-3")
def test_who_signs_in_on_another_computer_is_offered_the_move_by_name(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("daw"), locations=[CLOUD])
    world.license(customer.account, product)
    a = world.computer(new_name("studio"), token=customer.member_token)
    b = world.computer(new_name("laptop"))
    world.open_cloud(customer.member, customer.account, a)
    app = world.app(new_name("app"), a, product, "--cloud", "never")
    app.expect("running")

    with at_terminal(world, b, product) as person:
        person.answer("Choose 1 to", "")  # with a password
        person.answer("Login: ", customer.member_login)
        person.answer("Password: ", PASSWORD)
        person.answer("Remember me", "yes")
        person.answer("Choose 1 to 2 [2]", "")  # the Enter key stops nothing over there
        assert f"In use on {a.name}" in person.shown
        assert person.event("stopped")["reason"] == "CLOUD_SESSION_ELSEWHERE"
    assert app.running
    with at_terminal(world, b, product) as person:
        person.answer("Choose 1 to 2 [2]", "1")
        person.event("running")
        assert app.expect("stopped", timeout=5)["reason"] == "CLOUD_SESSION_MOVED"
        assert person.end() == 0
        assert "Login" not in person.shown


@pytest.mark.long
def test_a_person_at_a_desktop_signs_in_and_opens_the_cloud_session_with_the_keyboard_alone(
    world: World, customer: Customer, new_name: Namer, tmp_path: Path
) -> None:
    if shutil.which("xdotool") is None:
        pytest.skip(f"a keyboard on a virtual screen is needed: {INSTALL}")
    product = world.product(new_name("daw"), locations=[CLOUD])
    world.license(customer.account, product)
    computer = world.computer(new_name("desktop"))
    with contextlib.closing(virtual_screen(tmp_path)) as screens:
        env = {"DISPLAY": next(screens), "KEYPEG_ASK": "auto"}
        app = world.app(new_name("app"), computer, product, env=env)

        def run(argv: Sequence[str]) -> str:
            return world.lab.run(argv, env=env, check=False).stdout

        press(run, "Sign in", "type", customer.member_login)
        press(run, "Sign in", "key", "Tab", "type", PASSWORD)
        press(run, "Sign in", "key", "Return")
        press(run, "Open a cloud session?", "key", "alt+y")
        app.expect("running")
        assert app.stop() == 0


@pytest.mark.long
def test_the_command_line_asks_before_it_runs_an_app_and_says_so_when_it_can_not(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("daw"), locations=[CLOUD])
    world.license(customer.account, product)
    computer = world.computer(new_name("desk"))
    short = product.replace("publishers/", "").replace("/products", "")

    said = world.lab.run(
        [str(BIN / "keypeg"), "launch", "ask", short],
        env={**computer.env, "KEYPEG_ASK": "terminal"},
        check=False,
    )
    assert said.returncode == 4
    assert "Nobody can be asked here" in said.stderr
    assert "keypeg login" in said.stderr

    app = [sys.executable, str(APP), "--product", product, "--root", world.root.hex()]
    argv = [str(BIN / "keypeg"), "run", "--product", short, "--", *app, "--ask", "never"]
    with Terminal(argv, computer.env) as person:
        person.answer("Choose 1 to", "1")
        person.answer("Login: ", customer.member_login)
        person.answer("Password: ", PASSWORD)
        person.answer("Remember me", "no")
        person.answer("Choose 1 to 3", "1")
        person.event("running")  # signed in by its environment alone
        assert person.end() == 0
    assert not (computer.folder / "tokens").exists()
    code, found = world.keypeg(
        world.computer(computer.name, token=customer.member_token), "launch", "ask", short
    )
    assert (code, found["location"]) == (0, f"{customer.account}/locations/cloud")


@pytest.mark.long
def test_a_credential_file_is_a_way_to_sign_in_and_the_cloud_session_is_offered_by_it(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("daw"), locations=[CLOUD])
    world.license(customer.account, product)
    owner = world.computer(new_name("owner"), token=customer.member_token)
    file = owner.folder / "studio.keypeg"
    made = ["credential", "create", "studio", "--out", str(file), "--also", world.address]
    world.keypeg(owner, *made, "--passphrase-file", "-", stdin="\n")
    guest = world.computer(new_name("guest"))
    guest.env["KEYPEG_CREDENTIAL"] = str(file)

    with at_terminal(world, guest, product) as person:
        person.answer("Choose 1 to 3", "yes")
        person.event("running")
        assert person.end() == 0
        assert "Login" not in person.shown
        assert "credential file" in person.shown
