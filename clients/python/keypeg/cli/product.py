"""`keypeg product`: what a publisher sells."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

import click

from keypeg.cli.arguments import LOCATION_KINDS, Duration
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Group
from keypeg.cli.license import kinds
from keypeg.cli.product_switches import allow, allowed
from keypeg.cli.values import Column, Product, length, moment

if TYPE_CHECKING:
    from keypeg.v1 import product_pb2


def loss(one: product_pb2.Product) -> str:
    """What becomes of its licenses on lost keys; empty when the server does not say."""
    if not one.HasField("key_loss"):
        return ""
    policy = one.key_loss
    if not policy.move_count:
        return "ask the publisher"
    wait = policy.wait.ToTimedelta().days
    after = f", {wait} days after the report" if wait else ""
    return f"{policy.move_count} moves in {policy.period.ToTimedelta().days} days{after}"


PRODUCTS: Final[list[Column[product_pb2.Product]]] = [
    Column("PRODUCT", lambda one: Product(one.name)),
    Column("CALLED", lambda one: one.display_name),
    Column("WHERE", lambda one: kinds(one.allowed_locations)),
    Column("OFFLINE", lambda one: length(one, "offline_grace")),
    Column("UNPLUGGED", lambda one: length(one, "unplug_grace")),
    Column("BUNDLE OF", lambda one: tuple(map(Product, one.bundle_products))),
    Column("FEATURES", lambda one: tuple(one.features)),
]
PRODUCT: Final[list[Column[product_pb2.Product]]] = [
    *PRODUCTS,
    Column("OLDEST APP", lambda one: one.minimum_app_version),
    Column("LOST KEYS", loss),
    Column("ACCOUNTS MAY", allowed),
    Column("SINCE", lambda one: moment(one, "create_time")),
]

LOST_KEY_MOVES: Final = 2  # the server's default, where only the period or the wait is given


@click.group("product", cls=Group)
def product_group() -> None:
    """What a publisher sells.

    \b
    Example:
      keypeg product list acme
    """


@product_group.command("create")
@click.argument("product", metavar="PUBLISHER/PRODUCT")
@click.option("--name", metavar="TEXT", help="What people call it (default: its id).")
@click.option(
    "--location",
    "locations",
    type=click.Choice(LOCATION_KINDS),
    multiple=True,
    required=True,
    help="Where its licenses may live; may be repeated.",
)
@click.option(
    "--bundle",
    multiple=True,
    metavar="PRODUCT",
    help="A product that this bundle opens; may be repeated.",
)
@click.option("--feature", "features", multiple=True, metavar="NAME", help="May be repeated.")
@click.option("--offline-grace", type=Duration(), metavar="TIME", help="10s to 30d (default 180s).")
@click.option("--unplug-grace", type=Duration(), metavar="TIME", help="0 to 24h (default 30s).")
@click.option(
    "--lost-key-moves",
    type=click.IntRange(0, 1_000),
    metavar="N",
    help="How often a license may leave lost keys in a period; 0: ask you (default 2).",
)
@click.option(
    "--lost-key-period", type=Duration(), metavar="TIME", help="1d to 3650d (default 365d)."
)
@click.option(
    "--lost-key-wait",
    type=Duration(),
    metavar="TIME",
    help="From the report until it may; 0 to 365d (default 0).",
)
@click.option(
    "--minimum-app-version", default="", metavar="VERSION", help="The oldest app that is served."
)
@pass_cli
async def create(
    cli: Cli,
    product: str,
    name: str | None,
    locations: tuple[str, ...],
    bundle: tuple[str, ...],
    features: tuple[str, ...],
    offline_grace: timedelta | None,
    unplug_grace: timedelta | None,
    lost_key_moves: int | None,
    lost_key_period: timedelta | None,
    lost_key_wait: timedelta | None,
    minimum_app_version: str,
) -> None:
    """Add a product, or a bundle of products (publishers only).

    \b
    Examples:
      keypeg product create acme/cad --name CAD --location cloud --location key
      keypeg product create acme/all --name Everything --location cloud \\
          --bundle acme/cad --bundle acme/solver
    """
    from keypeg import names
    from keypeg.cli import resolve
    from keypeg.cli.link import request_id
    from keypeg.v1 import catalog_service_pb2 as pb
    from keypeg.v1 import catalog_service_pb2_grpc as rpc
    from keypeg.v1 import location_pb2

    publisher, product_id = names.PRODUCT.parse(resolve.product_name(product))
    request = pb.CreateProductRequest(
        parent=names.PUBLISHER.build(publisher),
        request_id=request_id(),
        product_id=product_id,
        display_name=name or product_id,
        bundle_products=[resolve.product_name(one) for one in bundle],
        allowed_locations=[
            location_pb2.LocationKind.Value(f"LOCATION_KIND_{one.upper()}") for one in locations
        ],
        minimum_app_version=minimum_app_version,
        features=features,
    )
    if offline_grace is not None:
        request.offline_grace.FromTimedelta(offline_grace)
    if unplug_grace is not None:
        request.unplug_grace.FromTimedelta(unplug_grace)
    if (lost_key_moves, lost_key_period, lost_key_wait) != (None, None, None):
        request.key_loss.move_count = LOST_KEY_MOVES if lost_key_moves is None else lost_key_moves
        if lost_key_period is not None:
            request.key_loss.period.FromTimedelta(lost_key_period)
        request.key_loss.wait.FromTimedelta(lost_key_wait or timedelta(0))
    async with cli.server() as link:
        answer = await link.call(rpc.CatalogServiceStub(link.channel).CreateProduct, request)
    cli.printer.item(answer.product, PRODUCT)
    cli.printer.note("The product is there.")


product_group.add_command(allow)


@product_group.command("list")
@click.argument("publisher")
@pass_cli
async def list_products(cli: Cli, publisher: str) -> None:
    """List the products of a publisher.

    \b
    Example:
      keypeg product list acme
    """
    from keypeg.cli import resolve
    from keypeg.v1 import catalog_service_pb2 as pb
    from keypeg.v1 import catalog_service_pb2_grpc as rpc

    async with cli.server() as link:
        found = await link.every(
            rpc.CatalogServiceStub(link.channel).ListProducts,
            pb.ListProductsRequest(parent=resolve.publisher_name(publisher)),
            lambda response: response.products,
        )
    cli.printer.listing(found, PRODUCTS, nothing="The publisher has no products.")


@product_group.command("show")
@click.argument("product", metavar="PUBLISHER/PRODUCT")
@pass_cli
async def show(cli: Cli, product: str) -> None:
    """Show a product.

    \b
    Example:
      keypeg product show acme/cad
    """
    from keypeg.cli import resolve
    from keypeg.v1 import catalog_service_pb2 as pb
    from keypeg.v1 import catalog_service_pb2_grpc as rpc

    async with cli.server() as link:
        answer = await link.call(
            rpc.CatalogServiceStub(link.channel).GetProduct,
            pb.GetProductRequest(name=resolve.product_name(product)),
        )
    cli.printer.item(answer.product, PRODUCT)
