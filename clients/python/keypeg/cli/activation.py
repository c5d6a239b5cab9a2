"""`keypeg activation`: places licenses on locations, and takes them back."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from keypeg.cli import activation_places as places
from keypeg.cli.arguments import account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Group
from keypeg.cli.values import Column, Name, Product, Value, moment, word

if TYPE_CHECKING:
    from keypeg.keys import KeyActivation
    from keypeg.v1 import activation_service_pb2, document_pb2, license_pb2, location_pb2

DOCUMENT_SUFFIX: Final = ".keypeg"


def kind(one: license_pb2.Activation) -> str:
    """The kind of location as a word."""
    from keypeg.v1 import location_pb2

    return word(location_pb2.LocationKind, one.location_kind, "LOCATION_KIND_")


ACTIVATIONS: Final[list[Column[license_pb2.Activation]]] = [
    Column("ACTIVATION", lambda one: Name(one.name)),
    Column("LICENSE", lambda one: Name(one.license)),
    Column("KIND", kind),
    Column("LOCATION", lambda one: Name(one.location)),
    Column("SINCE", lambda one: moment(one, "create_time")),
    Column("POOLS", lambda one: tuple(map(Name, one.pools))),
]
ACTIVATION: Final[list[Column[license_pb2.Activation]]] = [
    *ACTIVATIONS,
    Column("GENERATION", lambda one: one.generation),
]


def listed(
    licenses: Mapping[str, license_pb2.License], places: Mapping[str, location_pb2.Location]
) -> list[Column[license_pb2.Activation]]:
    """The columns of a list: with the product, and keys by what people call them."""

    def product(one: license_pb2.Activation) -> Value:
        found = licenses.get(one.license)
        return Product(found.product) if found else None

    def location(one: license_pb2.Activation) -> Value:
        found = places.get(one.location)
        called = found.display_name if found and found.card_id else ""
        return called or Name(one.location)

    return [
        ACTIVATIONS[0],
        Column("PRODUCT", product),
        *ACTIVATIONS[1:3],
        Column("LOCATION", location),
        *ACTIVATIONS[4:],
    ]


@click.group("activation", cls=Group)
def activation_group() -> None:
    """Where the account's licenses live.

    \b
    Example:
      keypeg activation list
    """


@activation_group.command("list")
@click.argument("license_id", metavar="[LICENSE]", required=False)
@account_option
@pass_cli
async def list_activations(cli: Cli, license_id: str | None, account: str | None) -> None:
    """List the activations of the account, or of one license.

    \b
    Example:
      keypeg activation list acme/cad
    """
    from keypeg import names
    from keypeg.cli import resolve

    async with cli.server() as link:
        if license_id:
            parent = await resolve.license_name(link, license_id, account)
        else:
            parent = await link.account(account)
        found = await resolve.activations(link, parent)
        licenses, places = {}, {}
        if found and cli.form in ("table", "csv"):
            owner = names.ACCOUNT.build(parent.split("/")[1])
            licenses = {one.name: one for one in await resolve.licenses(link, owner)}
            places = {one.name: one for one in await resolve.locations(link, owner)}
    cli.printer.listing(found, listed(licenses, places), nothing="Nothing is activated.")


@activation_group.command("create")
@click.argument("license_id", metavar="LICENSE")
@click.option(
    "--location",
    metavar="LOCATION",
    help="Where: cloud, site, or a location by its name, id or label.",
)
@click.option(
    "--key",
    "key_id",
    metavar="KEY",
    help="A key that is plugged in here and enrolled; the license is written to it.",
)
@click.option("--here", is_flag=True, help="This computer; the license is kept on it.")
@click.option(
    "--save",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write the signed document to FILE, as text.",
)
@account_option
@pass_cli
async def create(
    cli: Cli,
    license_id: str,
    location: str | None,
    key_id: str | None,
    here: bool,
    save: Path | None,
    account: str | None,
) -> None:
    """Activate LICENSE in the cloud, at this server's site, on a key, or here.

    \b
    Examples:
      keypeg activation create acme/solver --location site
      keypeg activation create acme/cad --key 4f1c22a9
      keypeg activation create acme/cad --here
    """
    if [bool(location), bool(key_id), here].count(True) != 1:
        raise click.UsageError("Say where: one of --location, --key and --here.")
    if here and save is not None:
        raise click.UsageError("--here keeps the document by itself; leave out --save.")
    async with cli.server() as link:
        if here:
            cli.printer.item(await places.onto_host(cli, link, license_id, account), ACTIVATION)
            return
        if key_id:
            made: (
                KeyActivation | activation_service_pb2.CreateActivationResponse
            ) = await places.onto_key(cli, link, license_id, key_id, account)
        else:
            assert location is not None
            made = await places.onto_location(link, license_id, location, account)
    cli.printer.item(made.activation, ACTIVATION)
    if save is not None:
        _save(cli, save, made.document, made.delegation)


@activation_group.command("show")
@click.argument("activation")
@click.option(
    "--save",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also write the signed document to FILE, as text.",
)
@account_option
@pass_cli
async def show(cli: Cli, activation: str, save: Path | None, account: str | None) -> None:
    """Show one activation.

    \b
    Example:
      keypeg activation show 5d2b9a41 --save cad.keypeg
    """
    from keypeg.cli import resolve
    from keypeg.v1 import activation_service_pb2 as pb
    from keypeg.v1 import activation_service_pb2_grpc as rpc

    async with cli.server() as link:
        name = await resolve.activation_name(link, activation, account)
        answer = await link.call(
            rpc.ActivationServiceStub(link.channel).GetActivation,
            pb.GetActivationRequest(name=name),
        )
    cli.printer.item(answer.activation, ACTIVATION)
    if save is not None:
        _save(cli, save, answer.document, answer.delegation)


@activation_group.command("delete")
@click.argument("activation")
@account_option
@pass_cli
async def delete(cli: Cli, activation: str, account: str | None) -> None:
    """Take an activation back, so that it can be placed elsewhere.

    What lives on a key is removed from it, which the key confirms with its
    signature: the key must be plugged in. From a key that was reported lost it
    is taken as the publisher allows.

    \b
    Example:
      keypeg activation delete 5d2b9a41
    """
    from keypeg.cli import resolve
    from keypeg.cli.link import request_id
    from keypeg.cli.session import SWITCHED
    from keypeg.v1 import activation_service_pb2 as pb
    from keypeg.v1 import activation_service_pb2_grpc as rpc

    async with cli.server() as link:
        name = await resolve.activation_name(link, activation, account)
        stub = rpc.ActivationServiceStub(link.channel)
        found = (await link.call(stub.GetActivation, pb.GetActivationRequest(name=name))).activation
        key = await places.key_of(link, found)
        switched = False
        if key is not None:
            await places.from_key(cli, link, found, key)
        else:
            request = pb.DeleteActivationRequest(name=name, request_id=request_id())
            answer = await link.call(stub.DeleteActivation, request)
            switched = answer.switched_to_managed
    cli.printer.note(f"{name} is taken back.")
    if switched:
        cli.printer.note(SWITCHED)


def _save(
    cli: Cli, path: Path, document: document_pb2.Envelope, delegation: document_pb2.Envelope
) -> None:
    """Write a document with the delegation it is signed under, whole or not at all."""
    from keypeg.document import to_text

    text = "".join(to_text(one) for one in (document, delegation) if one.payload)
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_text(text, encoding="ascii")
    temporary.replace(path)
    cli.printer.note(f"The document is in {path}.")
