"""`keypeg certificate`: certificates by which bridges and sites of an account call.

Promises: no private key passes here: a request comes in, and a certificate goes out, neither of them a secret.

Leaves to others: making the request and using the certificate (for bridges `keypeg-bridge certificate`).
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from keypeg.cli.arguments import Duration, account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Group
from keypeg.cli.values import Column, Name, moment

if TYPE_CHECKING:
    from keypeg.cli.link import Link
    from keypeg.v1 import certificate_pb2

ROLES: Final = {1: "bridge", 2: "site"}
COLUMNS: Final[list[Column[certificate_pb2.Certificate]]] = [
    Column("CERTIFICATE", lambda one: Name(one.name)),
    Column("NAME", lambda one: one.display_name),
    Column("ROLE", lambda one: ROLES.get(one.role, str(one.role))),
    Column("ENDS", lambda one: moment(one, "expire_time")),
    Column("REVOKED", lambda one: moment(one, "revoke_time")),
]


@click.group("certificate", cls=Group)
def certificate_group() -> None:
    """Certificates by which bridges and sites call, in place of a token.

    \b
    Example:
      keypeg certificate list
    """


@certificate_group.command("issue")
@click.argument("name")
@click.option(
    "--csr",
    "csr",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    required=True,
    metavar="FILE",
    help="The certificate request, as `keypeg-bridge certificate request` prints it.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    metavar="FILE",
    help="Where to write the certificate.",
)
@click.option(
    "--role", type=click.Choice(list(ROLES.values())), default="bridge", help="What it is for."
)
@click.option(
    "--for",
    "ttl",
    type=Duration(),
    metavar="TIME",
    help="How long it holds; as the server says by default.",
)
@account_option
@pass_cli
async def issue(
    cli: Cli,
    name: str,
    csr: Path,
    out: Path,
    role: str,
    ttl: timedelta | None,
    account: str | None,
) -> None:
    """Issue a certificate for the bridge or site that NAME says.

    Its private key is made where that runs, and stays there.

    \b
    Examples:
      keypeg certificate issue lab-4 --csr lab-4.csr --out lab-4.pem
      keypeg certificate issue plant --role site --csr plant.csr --out plant.pem
    """
    from keypeg.cli.link import request_id
    from keypeg.v1 import certificate_service_pb2 as pb
    from keypeg.v1 import certificate_service_pb2_grpc as rpc

    asked = _read(csr)
    async with cli.server() as link:
        request = pb.IssueCertificateRequest(
            parent=await link.account(account),
            request_id=request_id(),
            display_name=name,
            role=next(number for number, one in ROLES.items() if one == role),  # type: ignore[arg-type]  # equal by test
            certificate_request=asked,
        )
        if ttl is not None:
            request.ttl.FromTimedelta(ttl)
        answer = await link.call(rpc.CertificateServiceStub(link.channel).IssueCertificate, request)
    _write(out, answer.pem, answer.certificate.name)
    cli.printer.item(answer.certificate, COLUMNS)
    how = f": keypeg-bridge certificate install {out.name}" if role == "bridge" else "."
    cli.printer.note(f"Take {out} to the {role}{how}")


@certificate_group.command("list")
@account_option
@pass_cli
async def list_certificates(cli: Cli, account: str | None) -> None:
    """List the certificates of an account, ended and revoked ones for a month more.

    \b
    Example:
      keypeg certificate list
    """
    async with cli.server() as link:
        found = await _certificates(link, await link.account(account))
    cli.printer.listing(found, COLUMNS, nothing="There are no certificates.")


@certificate_group.command("revoke")
@click.argument("certificate")
@account_option
@pass_cli
async def revoke(cli: Cli, certificate: str, account: str | None) -> None:
    """Revoke CERTIFICATE, by name or id: it opens nothing any more, at once.

    \b
    Example:
      keypeg certificate revoke lab-4
    """
    from keypeg import names
    from keypeg.cli import resolve
    from keypeg.cli.link import request_id
    from keypeg.v1 import certificate_service_pb2 as pb
    from keypeg.v1 import certificate_service_pb2_grpc as rpc

    async with cli.server() as link:
        name = certificate
        if not names.CERTIFICATE.matches(certificate):
            there = await _certificates(link, await link.account(account))
            living = {
                one.name: (one.display_name,) for one in there if not one.HasField("revoke_time")
            }
            name = resolve.pick("certificate", certificate, living, "keypeg certificate list")
        await link.call(
            rpc.CertificateServiceStub(link.channel).RevokeCertificate,
            pb.RevokeCertificateRequest(name=name, request_id=request_id()),
        )
    cli.printer.note(f"{name} opens nothing any more.")


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise click.ClickException(f"{file} cannot be read: {error.strerror}.") from error


def _write(file: Path, text: str, certificate: str) -> None:
    try:
        file.write_text(text)
    except OSError as error:
        raise click.ClickException(
            f"{file} cannot be written ({error.strerror}); revoke {certificate} and issue another."
        ) from error


async def _certificates(link: Link, account: str) -> list[certificate_pb2.Certificate]:
    from keypeg.v1 import certificate_service_pb2 as pb
    from keypeg.v1 import certificate_service_pb2_grpc as rpc

    asked = pb.ListCertificatesRequest(parent=account)
    answer = await link.call(rpc.CertificateServiceStub(link.channel).ListCertificates, asked)
    return list(answer.certificates)
