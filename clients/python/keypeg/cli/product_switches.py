"""`keypeg product allow`: what accounts may do with licenses of a product.

Promises: the words on the command line are those of the contract's LicenseSwitches.

Leaves to others: the group (product.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Command
from keypeg.cli.values import word

if TYPE_CHECKING:
    from keypeg.v1 import license_switches_pb2, product_pb2

SWITCHES: Final = ("move", "recover", "change", "suspend", "revoke", "borrow")
WHO: Final = ("nobody", "admins", "members")


class Allowed(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases only
    """`suspend=admins`."""

    name = "switch"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, str]:
        switch, _, who = str(value).partition("=")
        if switch not in SWITCHES or who not in WHO:
            self.fail(
                f"{value!r} is no switch; write one of {', '.join(SWITCHES)}, and one of {', '.join(WHO)}: "
                "suspend=admins.",
                param,
            )
        return switch, who


def switches(chosen: tuple[tuple[str, str], ...]) -> license_switches_pb2.LicenseSwitches:
    """As the contract has them."""
    from keypeg.v1 import license_switches_pb2

    return license_switches_pb2.LicenseSwitches(
        **{
            switch: license_switches_pb2.AccountAccess.Value(f"ACCOUNT_ACCESS_{who.upper()}")
            for switch, who in chosen
        }
    )


def allowed(one: product_pb2.Product) -> tuple[str, ...]:
    """What accounts may do with its licenses, in words."""
    from keypeg.v1 import license_switches_pb2

    if not one.HasField("switches"):
        return ()
    who = license_switches_pb2.AccountAccess
    return tuple(
        f"{switch}={word(who, getattr(one.switches, switch), 'ACCOUNT_ACCESS_')}"
        for switch in SWITCHES
    )


@click.command("allow", cls=Command)
@click.argument("product", metavar="PUBLISHER/PRODUCT")
@click.argument("chosen", metavar="SWITCH=WHO...", type=Allowed(), nargs=-1, required=True)
@pass_cli
async def allow(cli: Cli, product: str, chosen: tuple[tuple[str, str], ...]) -> None:
    """Say what accounts may do with their licenses (publishers only).

    Switches are move, recover, change, suspend, revoke and borrow; each is
    allowed to nobody, admins or members of an account. The publisher always may.

    \b
    Example:
      keypeg product allow acme/cad suspend=admins move=nobody
    """
    from keypeg.cli import resolve
    from keypeg.cli.link import request_id
    from keypeg.cli.product import PRODUCT
    from keypeg.v1 import catalog_service_pb2 as pb
    from keypeg.v1 import catalog_service_pb2_grpc as rpc

    async with cli.server() as link:
        answer = await link.call(
            rpc.CatalogServiceStub(link.channel).SetLicenseSwitches,
            pb.SetLicenseSwitchesRequest(
                name=resolve.product_name(product),
                request_id=request_id(),
                switches=switches(chosen),
            ),
        )
    cli.printer.item(answer.product, PRODUCT)
