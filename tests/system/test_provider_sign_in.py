"""Signing in at an outside OpenID provider: real programs, and a provider in a process of its own."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from lab import oidc
from lab.processes import Lab
from lab.world import CLOUD, PASSWORD, Computer, World
from tests.system.commands import begun
from tests.system.people import SETTINGS, Customer, recorded
from tests.system.terminal import at_terminal

Namer = Callable[[str], str]
pytestmark = pytest.mark.skipif(bool(oidc.missing()), reason=oidc.missing() or "it is there")


@pytest.fixture(scope="module")
def provider(lab: Lab) -> oidc.OidcProvider:
    return oidc.OidcProvider(lab)


@pytest.fixture(scope="module")
def world(lab: Lab, made_data: Path, provider: oidc.OidcProvider) -> World:
    secret = lab.folder / "client-secret"
    secret.write_text(oidc.CLIENT_SECRET + "\n")
    own = f"""
[[sign_in.providers]]
name = "lab"
issuer = "{provider.issuer}"
client_id = "{oidc.CLIENT_ID}"
client_secret_file = "{secret}"
"""
    return World(lab, settings=SETTINGS + own, like=made_data)


def through_browser(
    computer: Computer, browser: oidc.Browser, *args: str, stdin: str = ""
) -> tuple[int, Any, str]:
    """A command whose user signs in with a browser."""
    with begun(computer, *args, "--no-browser", stdin=stdin) as command:
        page = browser.visit(command.says(r"in your browser: (\S+)")[1])
        assert "close this window" in page.text, page.text[-600:]
        return command.ends()


@pytest.mark.system
def test_who_is_linked_signs_in_with_a_browser_and_nobody_else(
    world: World, customer: Customer, new_name: Namer, provider: oidc.OidcProvider
) -> None:
    mine, login = world.computer(new_name("pc")), customer.member_login
    subject = new_name("subject")
    browser = oidc.Browser(subject)
    code, _, said = through_browser(mine, browser, "login", "--provider", "lab")
    assert code == 4
    assert f"{subject} of {provider.issuer} is linked to nobody here" in said
    world.keypeg(mine, "login", "--login", login, stdin=PASSWORD)
    code, _, said = through_browser(
        mine, browser, "identity", "link", "--provider", "lab", stdin=PASSWORD + "\n"
    )
    assert code == 0, said
    provider.rotate()  # a key that the server has not seen
    other = world.computer(new_name("pc"))
    code, answer, said = through_browser(other, browser, "login", "--provider", "lab")
    assert (code, answer["login"]) == (0, login), said
    assert world.keypeg(other, "whoami")[1]["login"] == login
    [linked] = recorded(customer, "identity_linked")
    assert (linked["subject"], linked["proven"]) == (subject, True)
    assert recorded(customer, "signed_in")[-1]["method"] == "provider"
    [shown] = world.keypeg(other, "identity", "list")[1]
    assert (shown["subject"], shown["issuer"]) == (subject, provider.issuer)
    world.keypeg(other, "identity", "unlink", subject)
    code, _, said = through_browser(other, browser, "login", "--provider", "lab")
    assert code == 4, said


@pytest.mark.long
@pytest.mark.system
def test_a_code_that_is_typed_at_the_provider_signs_in(
    world: World, customer: Customer, new_name: Namer
) -> None:
    subject, mine = new_name("subject"), world.computer(new_name("server"))
    admin = world.computer(new_name("office"), token=customer.admin_token)
    world.keypeg(
        admin,
        *("identity", "create", customer.member_login, "--provider", "lab", "--subject", subject),
    )
    with begun(mine, "login", "--provider", "lab", "--device") as command:
        url = command.says(r"or open (\S+)")[1]
        page = oidc.Browser(subject).visit(url)
        assert page.status_code == 200
        code, answer, said = command.ends()
    assert (code, answer["login"]) == (0, customer.member_login), said
    [linked] = recorded(customer, "identity_linked")
    assert (linked["subject"], linked["proven"]) == (subject, False)


@pytest.mark.long
@pytest.mark.system
def test_an_app_that_finds_no_license_offers_the_provider_whose_code_is_typed_in_any_browser(
    world: World, customer: Customer, new_name: Namer
) -> None:
    product = world.product(new_name("daw"), locations=[CLOUD])
    world.license(customer.account, product)
    subject, mine = new_name("subject"), world.computer(new_name("studio"))
    admin = world.computer(new_name("office"), token=customer.admin_token)
    world.keypeg(
        admin,
        *("identity", "create", customer.member_login, "--provider", "lab", "--subject", subject),
    )
    with at_terminal(world, mine, product) as person:
        person.answer("Choose 1 to", "At lab")
        person.until("Choose 1 to 3")
        found = re.search(r"Open (\S+) in any\s", person.shown)
        assert found, person.shown
        assert oidc.Browser(subject).visit(found[1]).status_code == 200
        person.answer("Choose 1 to 3", "It is typed")
        person.answer("Remember me", "yes")
        person.answer("Choose 1 to 3", "yes")
        person.event("running")
        assert person.end() == 0
    assert world.keypeg(mine, "whoami")[1]["login"] == customer.member_login


@pytest.mark.long
@pytest.mark.system
def test_who_is_invited_joins_as_who_they_are_there_and_who_declines_does_not(
    world: World, customer: Customer, new_name: Namer, provider: oidc.OidcProvider
) -> None:
    mine, subject = world.computer(new_name("pc")), new_name("subject")
    admin = world.computer(new_name("office"), token=customer.admin_token)
    with begun(mine, "login", "--provider", "lab", "--no-browser") as command:
        url = command.says(r"in your browser: (\S+)")[1]
        back = parse_qs(urlsplit(url).query)
        wrong = f"{back['redirect_uri'][0]}?error=access_denied&state="
        assert oidc.Browser(subject).visit(wrong + "guessed").status_code == 404
        oidc.Browser(subject).visit(wrong + back["state"][0])
        code, _, said = command.ends()
    assert code == 4
    assert "did not sign you in (access_denied)" in said
    login = new_name("bea")
    _, invited = world.keypeg(admin, "user", "invite", "bea@example.com")
    args = ("user", "accept", invited["invitation"], "--login", login, "--provider", "lab")
    browser = oidc.Browser(subject)
    code, _, said = through_browser(mine, browser, *args, stdin=invited["ticket"] + "\n")
    assert code == 0, said
    code, answer, said = through_browser(mine, browser, "login", "--provider", "lab")
    assert (code, answer["login"]) == (0, login), said
    provider.program.kill()
    status, _ = world.keypeg(mine, "login", "--provider", "lab", "--device", check=False)
    assert status == 7
    assert world.keypeg(mine, "whoami")[1]["login"] == login  # nothing else suffers
