"""Every pair of commands on one cloud session, at the same instant: the outcome is that of one after the other.

`cloud_pairs.txt` is the table: from each start, for each two commands, what is there after the first and then
the second, and after the second and then the first, with how each ended where it was refused. Where both are
the same it stands once. The table is what people read and agree to; the model must say the same, and the server,
asked for both at once, must end in one of the two.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from keypeg.errors import KeypegError
from keypeg_server.domain.cloud_session import CloudMode
from keypeg_server.domain.license import License
from keypeg_server.service.activations import ActivationView
from tests.server.service.cloud_model import Model, Owned
from tests.server.service.office import Office

TABLE: Final = Path(__file__).with_name("cloud_pairs.txt")

accounts = itertools.count(1)


@dataclass
class Stage:
    """An account of the office, with the licenses that the commands are about."""

    office: Office
    account: str
    licenses: dict[str, License]
    dsp: ActivationView  # on k1


Act = Callable[[Stage], Coroutine[Any, Any, Any]]
COMMANDS: Final[Mapping[str, tuple[Act, Callable[[Model], str]]]] = {
    "open a": (
        lambda on: on.office.open_cloud("a", account=on.account),
        lambda model: model.open("a"),
    ),
    "open b": (
        lambda on: on.office.open_cloud("b", account=on.account),
        lambda model: model.open("b"),
    ),
    "open b or keep": (
        lambda on: on.office.open_cloud("b", account=on.account, keep_elsewhere=True),
        lambda model: model.open("b", keep=True),
    ),
    "close on a": (
        lambda on: on.office.close_cloud("a", account=on.account),
        lambda model: model.close(),
    ),
    "close on b": (
        lambda on: on.office.close_cloud("b", account=on.account),
        lambda model: model.close(),
    ),
    "automatic": (
        lambda on: on.office.set_mode(CloudMode.AUTOMATIC, account=on.account),
        lambda model: model.set_mode(automatic=True),
    ),
    "managed": (
        lambda on: on.office.set_mode(CloudMode.MANAGED, account=on.account),
        lambda model: model.set_mode(automatic=False),
    ),
    "deposit fx": (
        lambda on: on.office.license("publishers/acme/products/fx", account=on.account),
        lambda model: model.deposit(Owned("fx", "fx")),
    ),
    "add eq": (
        lambda on: on.office.choose(add=[on.licenses["eq"].id], account=on.account),
        lambda model: model.put_in("eq"),
    ),
    "remove daw": (
        lambda on: on.office.choose(remove=[on.licenses["daw"].id], account=on.account),
        lambda model: model.take_out("daw"),
    ),
    "eq onto a key": (
        lambda on: on.office.activate(on.licenses["eq"], "k2"),
        lambda model: model.put_on_key("eq", "k2"),
    ),
    "dsp from its key": (
        lambda on: on.office.give_back(on.dsp),
        lambda model: model.give_back("dsp", "k1"),
    ),
}
ONCE: Final = {"dsp from its key"}  # is not there to be done twice
STARTS: Final[Mapping[str, tuple[str, ...]]] = {
    "closed, automatic": (),
    "open on a, automatic": ("open a",),
    "closed, managed, daw reserved": ("open a", "managed", "add eq", "remove eq", "close on a"),
    "open on a, managed, daw chosen": ("open a", "managed", "add eq", "remove eq"),
}


def pairs() -> Iterator[tuple[str, str]]:
    for first, second in itertools.combinations_with_replacement(COMMANDS, 2):
        if first != second or first not in ONCE:
            yield first, second


def said(model: Model, *ended: tuple[str, str]) -> str:
    refusals = [f"{command} refused: {how}" for command, how in sorted(ended) if how != "ok"]
    return "; ".join([model.shown(), *refusals])


def staged(start: str) -> Model:
    model = Model()
    model.owned = [
        Owned("daw", "daw"),
        Owned("eq", "eq"),
        Owned("dsp", "dsp", on_keys={"k1"}),
    ]
    for command in STARTS[start]:
        if command == "remove eq":
            model.take_out("eq")
        else:
            COMMANDS[command][1](model)
    return model


def outcome(start: str, *commands: str) -> str:
    """Of the model, one after the other."""
    model = staged(start)
    return said(model, *((command, COMMANDS[command][1](model)) for command in commands))


def outcomes(start: str, first: str, second: str) -> tuple[str, ...]:
    there = (outcome(start, first, second), outcome(start, second, first))
    return tuple(dict.fromkeys(there))


def row(start: str, first: str, second: str) -> str:
    return " | ".join([start, first, second, *outcomes(start, first, second)])


def test_the_table_names_every_pair_from_every_start() -> None:
    wanted = [row(start, *pair) for start in STARTS for pair in pairs()]
    assert TABLE.read_text().splitlines() == wanted


async def stage(office: Office, start: str) -> Stage:
    account = f"p{next(accounts)}"
    await office.account(account)
    for key in ("k1", "k2"):
        await office.key_place(key, account=account)
    licenses = {
        name: await office.license(f"publishers/acme/products/{name}", account=account)
        for name in ("daw", "eq", "dsp")
    }
    made = Stage(office, account, licenses, await office.activate(licenses["dsp"], "k1"))
    for command in STARTS[start]:
        if command == "remove eq":
            await office.choose(remove=[licenses["eq"].id], account=account)
        else:
            await COMMANDS[command][0](made)
    return made


async def both_at_once(office: Office, start: str, first: str, second: str) -> str:
    """What is there after the server was asked for both."""
    made = await stage(office, start)
    results = await asyncio.gather(
        *(COMMANDS[command][0](made) for command in (first, second)), return_exceptions=True
    )
    ended = []
    for command, result in zip((first, second), results, strict=True):
        if isinstance(result, BaseException):
            assert isinstance(result, KeypegError), result
            ended.append((command, result.reason.name))
        else:
            ended.append((command, "ok"))
    view = await office.cloud_of(made.account)
    found = await office.licenses.list_licenses(made.account, office.all)
    names = {one.license.name: one.license.product.rpartition("/")[2] for one in found}
    there = sorted(names[one.rsplit("/activations/", 1)[0]] for one in view.activations)
    session = view.session
    device = session.holder.host_name if session.holder else "closed"
    shown = f"{device} {session.mode.name.lower()}: {' '.join(there) or '-'}"
    refusals = [f"{command} refused: {how}" for command, how in sorted(ended) if how != "ok"]
    return "; ".join([shown, *refusals])


async def check(office: Office, *starts: str, least: int = 1) -> None:
    """Of the rows with so many outcomes or more."""
    for product in ("eq", "dsp", "fx"):
        await office.product(product)
    wrong = []
    for line in TABLE.read_text().splitlines():
        start, first, second, *allowed = line.split(" | ")
        if start in starts and len(allowed) >= least:
            found = await both_at_once(office, start, first, second)
            if found not in allowed:
                wrong.append(f"{line}, but it was {found}")
    assert not wrong


@pytest.mark.behaviour("CLOUD-2")
async def test_two_commands_at_once_end_as_if_one_came_after_the_other(office: Office) -> None:
    await check(office, "open on a, automatic", least=2)


@pytest.mark.long
async def test_two_commands_at_once_from_every_start(office: Office) -> None:
    await check(office, *STARTS)
