"""`keypeg launch`: finding a license for a product at this computer, asking on the way, and what is remembered.

Promises: what is asked is what the SDK asks in an app, at this terminal; data is printed only at the end.

Leaves to others: the flow itself (keypeg.launch_flow), running an app with it (run.py).
"""

from __future__ import annotations

from typing import Final

import click

from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Group
from keypeg.cli.values import Column, Name, Product, Value, entry

REMEMBERED: Final[list[Column[dict[str, str]]]] = [
    Column("LOGIN", lambda one: one["login"]),
    Column("ALWAYS FOR", lambda one: Product(one["family"])),
    Column("PLACE", lambda one: one["place"]),
    Column("SINCE", lambda one: one["time"]),
    Column("USER", lambda one: Name(one["user"])),
]


@click.group("launch", cls=Group)
def launch_group() -> None:
    """Find a license at this computer, and remembered answers.

    \b
    Example:
      keypeg launch ask acme/cad
    """


@launch_group.command("ask")
@click.argument("product", metavar="PRODUCT")
@click.option(
    "--root", metavar="HEX", help="The publisher's root key, instead of the server's word."
)
@click.option("--family", metavar="NAME", help="For what `always` is remembered: the product.")
@click.option("--app-version", default="", metavar="VERSION", help="The version of the app.")
@pass_cli
async def ask(
    cli: Cli, product: str, root: str | None, family: str | None, app_version: str
) -> None:
    """Look for a license of PRODUCT as an app does, and ask what helps.

    Asks to sign in, and whether to open or move the cloud session here, or to
    activate a license onto a key or this computer, where that gives the product
    one; without a terminal or desktop it says what is in the way. `keypeg run --product` does this before it runs an app.

    \b
    Examples:
      keypeg launch ask acme/cad
      KEYPEG_ASK=never keypeg launch ask acme/cad
    """
    from keypeg.cli.launch_look import look

    found = await look(cli, product, root=root, family=family, app_version=app_version)
    shown: dict[str, Value] = {
        "product": Product(found.product),
        "location": Name(found.location),
        "features": found.features,
        "seat_required": found.seat_required,
    }
    titles = {
        "product": "PRODUCT",
        "location": "LOCATION",
        "features": "FEATURES",
        "seat_required": "TAKES A SEAT",
    }
    cli.printer.item(shown, [entry(title, key) for key, title in titles.items()])


@launch_group.command("show")
@pass_cli
def show(cli: Cli) -> None:
    """Show who said always, for what, and which place it is used at.

    \b
    Example:
      keypeg launch show
    """
    from keypeg.launch_memory import Memory

    remembered = [dict(vars(one)) for one in Memory().all()]
    cli.printer.listing(remembered, REMEMBERED, nothing="Nothing is remembered.")


@launch_group.command("reset")
@click.argument("family", metavar="[FAMILY]", required=False)
@pass_cli
def reset(cli: Cli, family: str | None) -> None:
    """Forget remembered answers: all, or those for FAMILY (a product).

    Apps ask again before they open a cloud session or use a key here.

    \b
    Examples:
      keypeg launch reset
      keypeg launch reset acme/cad
    """
    from keypeg.cli.launch_look import product_name
    from keypeg.launch_memory import Memory

    memory = Memory()
    count = memory.reset(family=family)
    if family is not None and "/" in family:
        count += memory.reset(family=product_name(family))
    cli.printer.note(f"{count} {'answer' if count == 1 else 'answers'} forgotten.")
