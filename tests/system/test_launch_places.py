"""Launches onto a key and onto this computer, and with every way of signing in: real server, bridge, key and app."""

from __future__ import annotations

import contextlib
import shutil
import stat
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from keypeg.errors import Reason
from keypeg.v1 import license_service_pb2
from lab.keys import KeyLab
from lab.world import CLOUD, HOST, KEY, World, request_id
from tests.client.launch.screen import INSTALL, press, virtual_screen
from tests.system.people import Customer, recorded, refused
from tests.system.terminal import at_terminal

Namer = Callable[[str], str]


def enrolled(world: World, customer: Customer, keys: KeyLab, name: str) -> None:
    """The key is the account's, as an administrator has enrolled it."""
    computer = world.computer(name, token=customer.admin_token, bridge=keys.target)
    keys.wait_for_key(lambda: world.keypeg(computer, "key", "list")[1])
    world.keypeg(computer, "key", "enroll", "--name", "Ada's key")


@pytest.mark.behaviour("CLOUD-14")
def test_a_license_that_may_live_on_this_computer_is_activated_there_and_works_without_a_connection(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("eq"), locations=[HOST])
    world.license(customer.account, product)
    computer = world.computer(new_name("desk"), token=customer.member_token)
    with at_terminal(world, computer, product) as person:
        person.until("A USB key: no, its publisher does not allow it")
        person.answer("Choose 1 to 3", "always")
        running = person.event("running")
        assert person.end() == 0
    assert recorded(customer, "host_added")[-1]["location"] == running["location"]
    [file] = (computer.folder / "licenses").iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    away = {"KEYPEG_SERVER": "127.0.0.1:1", "KEYPEG_TOKEN": ""}
    app = world.app(new_name("app"), computer, product, env=away)
    app.expect("running")
    assert app.stop() == 0


@pytest.mark.behaviour("LIC-12")
def test_what_lives_on_a_computer_is_activated_by_that_computer_alone(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("eq"), locations=[HOST])
    first, second = [world.license(customer.account, product) for _ in range(2)]
    desk, other = (world.computer(new_name("pc"), token=customer.admin_token) for _ in range(2))
    here = world.keypeg(desk, "activation", "create", first.name, "--here")[1]
    there = ("activation", "create", second.name, "--location", here["location"])
    assert world.keypeg(other, *there, check=False)[0] != 0
    for api in (customer.admin, world.publisher):
        with refused(Reason.ACTIVATE_THERE) as caught:
            world.activate(api, second.name, here["location"])
        assert caught[0].metadata["location"] == here["location"]
    again = world.keypeg(desk, "activation", "create", second.name, "--here")[1]
    assert again["location"] == here["location"]
    app = world.app(new_name("app"), desk, product, env={"KEYPEG_TOKEN": ""})
    app.expect("running")


@pytest.mark.behaviour("LIC-8")
def test_what_lived_on_a_computer_that_is_lost_is_recovered_and_lives_on_another(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("eq"), locations=[HOST])
    owned = world.license(customer.account, product)
    lost, other = (world.computer(new_name("pc"), token=customer.admin_token) for _ in range(2))
    office = world.computer(new_name("office"), token=world.publisher.token)
    here = world.keypeg(lost, "activation", "create", owned.name, "--here")[1]
    assert world.keypeg(other, "activation", "create", owned.name, "--here", check=False)[0] != 0
    recover = ("license", "recover", here["name"], "--reason", "Left in a train", "--yes")
    with refused(Reason.SWITCHED_OFF):
        customer.admin.licenses.RecoverLicense(
            license_service_pb2.RecoverLicenseRequest(
                name=here["name"], request_id=request_id(), reason="Left in a train"
            )
        )
    world.keypeg(office, *recover)
    assert recorded(customer, "license_recovered")[-1]["location"] == here["location"]
    there = world.keypeg(other, "activation", "create", owned.name, "--here")[1]
    assert there["location"] != here["location"]
    app = world.app(new_name("app"), other, product, env={"KEYPEG_TOKEN": ""})
    app.expect("running")


@pytest.mark.long
def test_what_is_always_used_on_this_computer_comes_back_unasked_and_goes_to_no_other(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("eq"), locations=[HOST])
    world.license(customer.account, product)
    computer = world.computer(new_name("desk"), token=customer.member_token)
    with at_terminal(world, computer, product) as person:
        person.answer("Choose 1 to 3", "always")
        running = person.event("running")
        assert person.end() == 0
    places = world.keypeg(computer, "location", "list")[1]
    [place] = [one for one in places if one["kind"] == "LOCATION_KIND_HOST"]
    assert (place["name"], place["device"]) == (running["location"], computer.device.id)
    [always] = world.keypeg(computer, "launch", "show")[1]
    assert (always["family"], always["place"]) == (product, "host")

    [file] = (computer.folder / "licenses").iterdir()
    file.unlink()
    with at_terminal(world, computer, product) as person:
        person.event("running")
        assert person.end() == 0
        assert "Choose" not in person.shown
    assert [one.name for one in (computer.folder / "licenses").iterdir()] == [file.name]
    assert len(world.keypeg(computer, "activation", "list")[1]) == 1, "the same activation again"
    file.unlink()
    short = product.replace("publishers/", "").replace("/products", "")
    code, again = world.keypeg(computer, "activation", "create", short, "--here")
    assert (code, again["location"]) == (0, place["name"])
    assert file.exists()
    other = world.computer(new_name("other"), token=customer.member_token)
    with at_terminal(world, other, product) as person:
        person.answer("Choose 1 to 3", "3")
        assert "all activations (1) are in use" in person.shown.replace("\n    ", " ")


@pytest.mark.long
def test_a_person_chooses_the_key_that_is_plugged_in_and_is_told_what_is_done(
    world: World, customer: Customer, keys: KeyLab, new_name: Namer
) -> None:
    product = world.product(new_name("daw"), locations=[CLOUD, KEY])
    world.license(customer.account, product)
    enrolled(world, customer, keys, new_name("office"))
    computer = world.computer(new_name("studio"), token=customer.member_token, bridge=keys.target)
    with at_terminal(world, computer, product) as person:
        person.until("A USB key: yes, Ada's key is plugged in")
        person.answer("Choose 1 to 3", "Onto Ada's key")
        person.answer("Always there", "yes")
        person.until("the license is on the key")
        running = person.event("running")
        assert person.end() == 0
        assert "leave the key plugged in" in person.shown.lower().replace("\n", " ")
    [activation] = world.keypeg(computer, "activation", "list")[1]
    assert activation["location_kind"] == "LOCATION_KIND_KEY"
    assert running["location"] == activation["location"]
    [always] = world.keypeg(computer, "launch", "show")[1]
    assert always["place"] == "key"

    second = world.product(new_name("eq"), locations=[CLOUD, KEY])
    world.license(customer.account, second)
    keys.unplug()
    with at_terminal(world, computer, second) as person:
        person.until("A USB key: no, none is plugged in")
        person.answer("Choose 1 to 3", "3")


@pytest.mark.long
def test_a_code_that_is_approved_elsewhere_signs_in(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("daw"), locations=[CLOUD])
    world.license(customer.account, product)
    office = world.computer(new_name("office"), token=customer.member_token)
    computer = world.computer(new_name("kiosk"))
    with at_terminal(world, computer, product) as person:
        person.answer("Choose 1 to", "With a code")
        person.until("Choose 1 to 3")
        code = person.shown.partition("The code is ")[2].partition("\n")[0]
        world.keypeg(office, "sign-ins", "approve", code, "--yes")
        person.answer("Choose 1 to 3", "")
        person.answer("Remember me", "yes")
        person.answer("Choose 1 to 3", "yes")
        person.event("running")
        assert person.end() == 0
    assert world.keypeg(computer, "whoami")[1]["login"] == customer.member_login


@pytest.mark.long
def test_a_sealed_credential_file_signs_in_and_is_kept_only_when_the_person_says_so(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("daw"), locations=[CLOUD])
    world.license(customer.account, product)
    owner = world.computer(new_name("owner"), token=customer.member_token)
    file = owner.folder / "studio.keypeg"
    made = ["credential", "create", "studio", "--out", str(file), "--also", world.address]
    world.keypeg(owner, *made, "--passphrase-file", "-", stdin="open sesame\n")
    guest = world.computer(new_name("guest"))

    for keeps in ("no", "yes"):
        with at_terminal(world, guest, product) as person:
            person.answer("Choose 1 to", "With a credential file")
            person.answer("Choose 1 to 3", "1")
            person.answer("Credential file: ", str(file))
            person.answer("Keep it", keeps)
            person.until("The file is sealed")
            person.answer("Choose 1 to 3", "1")
            person.answer("Credential file [", "")
            person.answer("Passphrase: ", "open sesame")
            person.answer("Keep it", keeps)
            if keeps == "no":  # the first time; then it is open here
                person.answer("Choose 1 to 3", "yes")
            person.event("running")
            assert person.end() == 0
            assert "open sesame" not in person.shown
        kept = list((guest.folder / "credentials").glob("*"))
        assert bool(kept) is (keeps == "yes")
    with at_terminal(world, guest, product) as person:
        person.event("running")
        assert person.end() == 0
        assert "Choose" not in person.shown


@pytest.mark.long
def test_a_person_at_a_desktop_puts_a_license_onto_the_key_with_the_keyboard_alone(
    world: World, customer: Customer, keys: KeyLab, new_name: Namer, tmp_path: Path
) -> None:
    if shutil.which("xdotool") is None:
        pytest.skip(f"a keyboard on a virtual screen is needed: {INSTALL}")
    product = world.product(new_name("daw"), locations=[KEY])
    world.license(customer.account, product)
    enrolled(world, customer, keys, new_name("office"))
    computer = world.computer(new_name("desktop"), token=customer.member_token, bridge=keys.target)
    with contextlib.closing(virtual_screen(tmp_path)) as screens:
        env = {"DISPLAY": next(screens), "KEYPEG_ASK": "auto"}
        app = world.app(new_name("app"), computer, product, env=env)

        def run(argv: Sequence[str]) -> str:
            return world.lab.run(argv, env=env, check=False).stdout

        press(run, "Use Ada's key?", "key", "alt+y")
        app.expect("running")
        assert app.stop() == 0
