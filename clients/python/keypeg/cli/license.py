"""`keypeg license`: what the account owns, and what a publisher deposits."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Final

import click

from keypeg.cli.arguments import LOCATION_KINDS, Moment, Units, Version, account_option
from keypeg.cli.capacity import capacity_group
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Group
from keypeg.cli.license_changes import cancel, changes
from keypeg.cli.license_life import change, recover, resume, revoke, suspend
from keypeg.cli.license_move import move
from keypeg.cli.values import Column, Name, Product, State, moment, word

if TYPE_CHECKING:
    from keypeg.v1 import license_pb2

TYPES: Final = (
    "perpetual",
    "subscription",
    "not-for-resale",
    "not-for-resale-subscription",
    "trial",
)


def kinds(numbers: object) -> tuple[str, ...]:
    """Kinds of location as words."""
    from keypeg.v1 import location_pb2

    return tuple(word(location_pb2.LocationKind, one, "LOCATION_KIND_") for one in numbers)  # type: ignore[attr-defined]


def license_type(one: license_pb2.License) -> str:
    """The type of a license as a word."""
    from keypeg.v1 import license_pb2

    return word(license_pb2.LicenseType, one.type, "LICENSE_TYPE_")


def state(one: license_pb2.License) -> State:
    """The state of a license as a word."""
    from keypeg.v1 import license_pb2

    return State(word(license_pb2.LicenseState, one.state, "LICENSE_STATE_"))


def features(one: license_pb2.License) -> tuple[str, ...]:
    """The features of a license, with their seats where counted."""
    return tuple(f"{f.feature}={f.seat_count}" if f.seat_count else f.feature for f in one.features)


def newest_version(one: license_pb2.License) -> str:
    """The newest version that it opens; empty for every version."""
    return f"{one.newest_version}.x" if one.newest_version else ""


def expires(one: license_pb2.License) -> datetime | str | None:
    """The end of its term: a date, or how long after the first activation; None when it has none."""
    if one.term_days and not one.HasField("first_activate_time"):
        days = f"{one.term_days} days after first activation"
        date = moment(one, "expire_time")
        return f"{days}, by {date:%Y-%m-%d}" if date else days
    return moment(one, "expire_time")


def temporary(one: license_pb2.License) -> str:
    """What it has now for a time; empty for nothing."""
    more = {"seats": one.temporary_seat_count, "activations": one.temporary_activation_count}
    return ", ".join(f"{count} more {what}" for what, count in more.items() if count)


LICENSES: Final[list[Column[license_pb2.License]]] = [
    Column("LICENSE", lambda one: Name(one.name)),
    Column("PRODUCT", lambda one: Product(one.product)),
    Column("TYPE", license_type),
    Column("STATE", state),
    Column("ACTIVATIONS", lambda one: one.activation_count, right=True),
    Column("USED", lambda one: one.activations_used_count, right=True),
    Column("SEATS", lambda one: one.seat_count or None, right=True),
    Column("WHERE", lambda one: kinds(one.allowed_locations)),
    Column("EXPIRES", expires),
]
LICENSE: Final[list[Column[license_pb2.License]]] = [
    *LICENSES[:2],
    Column("CALLED", lambda one: one.product_display_name),
    Column("PUBLISHER", lambda one: one.publisher.removeprefix("publishers/")),
    Column("SUBTYPE", lambda one: "bundle" if one.bundle else "product"),
    Column("OPENS", lambda one: tuple(map(Product, one.opens_products))),
    *LICENSES[2:],
    Column("TERM", lambda one: f"{one.term_days} days from first use" if one.term_days else None),
    Column("FIRST USE", lambda one: moment(one, "first_activate_time")),
    Column("MAINTENANCE ENDS", lambda one: moment(one, "maintenance_end_time")),
    Column("FEATURES", features),
    Column("DEPOSITED", lambda one: moment(one, "deposit_time")),
    Column("UP TO VERSION", newest_version),
    Column("TEMPORARY", temporary),
    Column("REFERENCE", lambda one: one.external_reference),
    Column("WHY", lambda one: one.state_reason),
    Column("NEXT CHANGE", lambda one: moment(one, "next_change_time")),
    Column("WAITS FOR", lambda one: Name(one.waits_for) if one.waits_for else None),
]


@click.group("license", cls=Group)
def license_group() -> None:
    """What the account owns.

    \b
    Example:
      keypeg license list
    """


for one_of_life in (suspend, resume, revoke, change, move, recover, changes, cancel):
    license_group.add_command(one_of_life)


@license_group.command("list")
@account_option
@pass_cli
async def list_licenses(cli: Cli, account: str | None) -> None:
    """List the licenses of an account, oldest first.

    \b
    Example:
      keypeg license list -o csv > licenses.csv
    """
    from keypeg.cli import resolve

    async with cli.server() as link:
        found = await resolve.licenses(link, await link.account(account))
    cli.printer.listing(found, LICENSES, nothing="The account has no licenses.")


@license_group.command("show")
@click.argument("license_id", metavar="LICENSE")
@account_option
@pass_cli
async def show(cli: Cli, license_id: str, account: str | None) -> None:
    """Show one license: by its id, the end of it, or its product.

    \b
    Example:
      keypeg license show acme/cad
    """
    from keypeg.cli import resolve
    from keypeg.v1 import license_service_pb2 as pb
    from keypeg.v1 import license_service_pb2_grpc as rpc

    async with cli.server() as link:
        name = await resolve.license_name(link, license_id, account)
        answer = await link.call(
            rpc.LicenseServiceStub(link.channel).GetLicense, pb.GetLicenseRequest(name=name)
        )
    cli.printer.item(answer.license, LICENSE)


@license_group.command("create")
@click.argument("product", metavar="PRODUCT")
@click.option("--account", metavar="ACCOUNT", required=True, help="Whose license it is.")
@click.option("--type", "kind", type=click.Choice(TYPES), default="perpetual", show_default=True)
@click.option(
    "--location",
    "locations",
    type=click.Choice(LOCATION_KINDS),
    multiple=True,
    help="Where it may live; may be repeated. Without: as the product says.",
)
@click.option(
    "--activations", type=click.IntRange(1, 10_000), default=1, show_default=True, metavar="N"
)
@click.option(
    "--seats", type=click.IntRange(0, 1_000_000), default=0, metavar="N", help="0: not counted."
)
@click.option(
    "--feature", "wanted", type=Units(), multiple=True, help="NAME, or NAME=SEATS; may be repeated."
)
@click.option("--expires", type=Moment(), metavar="TIME", help="The end of its term.")
@click.option(
    "--term-days",
    type=click.IntRange(0, 36_500),
    default=0,
    metavar="DAYS",
    help="Its term from the first activation.",
)
@click.option(
    "--maintenance-ends",
    type=Moment(),
    metavar="TIME",
    help="The end of maintenance: it opens releases from before.",
)
@click.option(
    "--up-to-version",
    type=Version(),
    default="",
    metavar="VERSION",
    help="The newest version that it opens: 7 or 7.x for every 7.x. Without: every version.",
)
@click.option(
    "--reference", default="", metavar="TEXT", help="Your own, for example an order number."
)
@pass_cli
async def create(
    cli: Cli,
    product: str,
    account: str,
    kind: str,
    locations: tuple[str, ...],
    activations: int,
    seats: int,
    wanted: tuple[tuple[str, int | None], ...],
    expires: datetime | None,
    term_days: int,
    maintenance_ends: datetime | None,
    up_to_version: str,
    reference: str,
) -> None:
    """Deposit a license of PRODUCT with an account (publishers only).

    \b
    Examples:
      keypeg license create acme/cad --account studio --activations 2
      keypeg license create acme/solver --account studio --seats 3 --location site
    """
    from keypeg.cli import resolve
    from keypeg.cli.link import request_id
    from keypeg.v1 import license_pb2, location_pb2, product_pb2
    from keypeg.v1 import license_service_pb2 as pb
    from keypeg.v1 import license_service_pb2_grpc as rpc

    async with cli.server() as link:
        request = pb.CreateLicenseRequest(
            parent=await link.account(account),
            request_id=request_id(),
            product=resolve.product_name(product),
            type=license_pb2.LicenseType.Value(f"LICENSE_TYPE_{kind.upper().replace('-', '_')}"),
            allowed_locations=[
                location_pb2.LocationKind.Value(f"LOCATION_KIND_{one.upper()}") for one in locations
            ],
            activation_count=activations,
            seat_count=seats,
            features=[
                product_pb2.FeatureGrant(feature=name, seat_count=count or 0)
                for name, count in wanted
            ],
            term_days=term_days,
            external_reference=reference,
            newest_version=up_to_version,
        )
        if expires is not None:
            request.expire_time.FromDatetime(expires)
        if maintenance_ends is not None:
            request.maintenance_end_time.FromDatetime(maintenance_ends)
        answer = await link.call(rpc.LicenseServiceStub(link.channel).CreateLicense, request)
    cli.printer.item(answer.license, LICENSE)
    cli.printer.note("The license is deposited.")


license_group.add_command(capacity_group)
