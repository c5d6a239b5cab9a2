"""Borrowing step by step: what is asked of the server, and what of this computer's shelf.

Promises: the server's answer is on the disk before it is shown; a refusal leaves nothing behind; an answer that
was lost leaves the request, to be asked again with the same id.

Leaves to others: options and printing (borrow), locks and files (keypeg.borrow_shelf).
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final

import click

from keypeg import borrowed, errors, fingerprint, hostinfo, names, profile
from keypeg.borrow_place import Asked, GivenUp, Kept
from keypeg.borrow_shelf import Shelf
from keypeg.cli import resolve, short, when
from keypeg.cli.context import Cli
from keypeg.cli.link import Link, request_id
from keypeg.cli.values import moment
from keypeg.envelope import (
    RETURN_TYPE,
    TEXT_CHARACTERS,
    Ed25519Signer,
    all_from_text,
    to_text,
)
from keypeg.errors import KeypegError, Reason
from keypeg.files import read, write
from keypeg.v1 import (
    borrow_pb2,
    borrow_service_pb2,
    borrow_service_pb2_grpc,
    product_pb2,
    proof_pb2,
    session_pb2,
)

# After these nobody knows whether the server has done it; the request is kept, and asked again.
_UNKNOWN: Final = (
    Reason.UNREACHABLE,
    Reason.TIMED_OUT,
    Reason.INTERNAL,
    Reason.ELSEWHERE,
    Reason.SERVER_DRAINING,
    Reason.STORAGE_UNAVAILABLE,
    Reason.LIMIT_EXCEEDED,
    Reason.BUSY,
)
# By these the server refuses what it has not done before. All others may come before it has looked for that.
_NOT_DONE: Final = (
    Reason.FIELD_INVALID,
    Reason.REQUEST_ID_REUSED,
    Reason.ALREADY_EXISTS,
    Reason.POOL_EXHAUSTED,
    Reason.POOL_TOO_SMALL,
    Reason.FEATURE_UNKNOWN,
    Reason.POOL_RULE,
    Reason.LEASE_EXPIRED,
)


def shelf(cli: Cli) -> Shelf:
    """The borrows of this computer."""
    return Shelf(profile.borrows_dir())


def _stub(link: Link) -> borrow_service_pb2_grpc.BorrowServiceAsyncStub:
    return borrow_service_pb2_grpc.BorrowServiceStub(link.channel)


# Taking.


def new_request(
    cli: Cli,
    pool: str,
    units: int,
    features: Sequence[tuple[str, int | None]],
    duration: timedelta,
) -> borrow_service_pb2.CreateBorrowRequest:
    """What is asked for, but for the key."""
    request = borrow_service_pb2.CreateBorrowRequest(
        request_id=request_id(),
        pool=pool,
        units=units,
        features=[
            product_pb2.FeatureUnits(feature=name, units=count or 1) for name, count in features
        ],
        device=cli.device(),
        app=session_pb2.App(name="keypeg borrow", version=cli.version, sdk=cli.sdk),
    )
    request.duration.FromTimedelta(duration)
    parts = hostinfo.parts()
    if fingerprint.usable(parts):  # a computer that tells nothing is known by its id alone
        salt = secrets.token_bytes(fingerprint.SALT_BYTES)
        request.fingerprint.CopyFrom(fingerprint.make(parts, salt))
    return request


async def create(
    cli: Cli, link: Link, here: Shelf, request: borrow_service_pb2.CreateBorrowRequest
) -> borrow_pb2.Borrow:
    """Borrows a seat, with a key that is made for it."""
    key = Ed25519Signer.generate()
    request.return_key.CopyFrom(key.public_key)
    asked = here.begin(request.request_id, request.SerializeToString(), key)
    return await _ask(cli, link, here, asked)


async def finish(cli: Cli, link: Link, here: Shelf, pool: str) -> borrow_pb2.Borrow | None:
    """Asks again for a borrow of the pool whose answer was lost; None when there is none, or it is over.

    While that is not known, nothing is: the seat may be out, and its key is here.
    """
    for asked in here.asked():
        request = borrow_service_pb2.CreateBorrowRequest.FromString(asked.request)
        if request.pool != pool:
            continue
        try:
            made = await _ask(cli, link, here, asked, again=True)
        except KeypegError as error:
            if error.reason not in _NOT_DONE:
                raise
            continue
        cli.printer.note("This is the seat that was asked for before, whose answer was lost.")
        return made
    return None


async def _ask(
    cli: Cli, link: Link, here: Shelf, asked: Asked, *, again: bool = False
) -> borrow_pb2.Borrow:
    try:
        made, proof = await _lent(link, asked)
    except KeypegError as error:
        if error.reason in _NOT_DONE or (not again and error.reason not in _UNKNOWN):
            here.refused(asked)
            raise
        cli.printer.note(
            "Whether the seat was borrowed is not known: run the same command again to find out."
        )
        raise
    here.keep(asked.directory, proof, cli.now())
    return made


async def _lent(link: Link, asked: Asked) -> tuple[borrow_pb2.Borrow, proof_pb2.BorrowProof]:
    request = borrow_service_pb2.CreateBorrowRequest.FromString(asked.request)
    try:
        answer = await link.call(_stub(link).CreateBorrow, request)
    except errors.AlreadyExists as error:
        # It was asked so long ago that the server does not remember the request: it names the borrow.
        name = error.metadata.get("resource", "")
        if not names.BORROW.matches(name):
            raise
        found = await link.call(
            _stub(link).GetBorrow, borrow_service_pb2.GetBorrowRequest(name=name)
        )
        if not found.HasField("proof"):
            raise
        return found.borrow, found.proof
    return answer.borrow, answer.proof


async def renew(
    cli: Cli, link: Link, here: Shelf, kept: Kept, duration: timedelta
) -> borrow_pb2.Borrow:
    """Gives a borrow a later end."""
    request = borrow_service_pb2.RenewBorrowRequest(name=kept.name, request_id=request_id())
    request.duration.FromTimedelta(duration)
    answer = await link.call(_stub(link).RenewBorrow, request)
    here.keep(kept.directory, answer.proof, cli.now())
    return answer.borrow


# Giving back.


def give_up(cli: Cli, here: Shelf, text: str | None) -> tuple[GivenUp, ...]:
    """Gives a borrow of this computer up, for good; all statements that are to be handed in.

    One that is given up already is not given up again; without a word, those that wait come first.
    """
    waiting = {one.name: one for one in here.given_up()}
    if text is None and waiting:
        return tuple(waiting.values())
    if text is not None and (meant := short.match(text, waiting)):
        return tuple(waiting[name] for name in meant)
    made = here.give_up(pick(here, text), cli.now())
    cli.printer.note(f"{made.name} is given up: it opens nothing here any more.")
    return (made,)


def save(statements: Sequence[GivenUp], path: Path) -> None:
    """Writes statements to a file, as text."""
    write(path.absolute(), "".join(to_text(one.statement) for one in statements).encode())


async def hand_in(cli: Cli, link: Link, here: Shelf) -> tuple[str, ...]:
    """Hands in what this computer has given up and nobody has handed in yet; what is not known to the server.

    That is kept until its end has come for sure: it may be another server, or another account.
    """
    unknown = []
    for one in here.given_up():
        request = borrow_service_pb2.ReturnBorrowRequest(name=one.name, statement=one.statement)
        try:
            await link.call(_stub(link).ReturnBorrow, request)
        except errors.NotFound:
            if not here.is_over(one.name, cli.now()):
                unknown.append(one.name)
                cli.printer.note(
                    f"{one.name} is not known to this server and user; its statement is kept, to be handed in "
                    "where it was borrowed."
                )
                continue
        here.handed_in(one)
        cli.printer.note(f"{one.name} is given back.")
    return tuple(unknown)


async def hand_in_file(
    link: Link, path: Path
) -> tuple[list[borrow_pb2.Borrow], KeypegError | None]:
    """Hands in all statements of a file; what was given back, and the first refusal."""
    text = read(path, TEXT_CHARACTERS).decode(errors="replace")
    statements = [one for one in all_from_text(text) if one.payload_type == RETURN_TYPE]
    if not statements:
        raise errors.DocumentMalformed(
            f"There is no statement of return in {path}; write one with `keypeg borrow return --to-file`."
        )
    found, refusal = [], None
    for statement in statements:
        request = borrow_service_pb2.ReturnBorrowRequest(
            name=borrowed.named_by(statement), statement=statement
        )
        try:
            found.append((await link.call(_stub(link).ReturnBorrow, request)).borrow)
        except KeypegError as error:
            refusal = refusal or error
            if error.reason in _UNKNOWN:
                break  # it would be the same for all others
    return found, refusal


# What is there.


def pick(here: Shelf, text: str | None) -> Kept:
    """The borrow of this computer that is meant; without a word, the only one."""
    refusals: list[KeypegError] = []
    there = {one.name: one for one in here.kept(refusals)}
    if text is None:
        if len(there) == 1:
            return next(iter(there.values()))
        if there:
            raise errors.FieldInvalid(
                f"{len(there)} seats are borrowed here; name one (keypeg borrow list --here)."
            )
        if refusals:
            raise refusals[0]
        raise errors.NotFound("No seat is borrowed on this computer.")
    words = {name: (one.pool,) for name, one in there.items()}
    return there[resolve.pick("borrow on this computer", text, words, "keypeg borrow list --here")]


def on_this_computer(here: Shelf) -> list[tuple[str, borrow_pb2.Borrow]]:
    """What this computer knows of its borrows by itself, those that end first first."""
    found = [(one.name, _known(one)) for one in here.kept()]
    return sorted(found, key=lambda one: (one[1].expire_time.seconds, one[0]))


def _known(kept: Kept) -> borrow_pb2.Borrow:
    document = kept.document
    return borrow_pb2.Borrow(
        name=document.borrow,
        lease=document.lease.lease,
        account=document.account,
        product=document.products[0] if document.products else "",
        user=document.user,
        device=document.device,
        host_name=hostinfo.host_name(),
        units=document.lease.units,
        features=document.lease.features,
        fencing_number=document.lease.fencing_number,
        state=borrow_pb2.BORROW_STATE_OUT,
        create_time=document.issue_time if document.HasField("issue_time") else None,
        expire_time=document.expire_time,
        serial=document.serial,
    )


# Writing off.


async def write_off(
    link: Link, name: str, reason: str, *, dry_run: bool
) -> borrow_service_pb2.WriteOffBorrowResponse:
    """Gives a borrow up for lost, or asks what that would expose."""
    request = borrow_service_pb2.WriteOffBorrowRequest(
        name=name, request_id=request_id(), reason=reason, dry_run=dry_run
    )
    return await link.call(_stub(link).WriteOffBorrow, request)


def exposed(cli: Cli, answer: borrow_service_pb2.WriteOffBorrowResponse) -> str:
    """What a write-off exposes, in a few sentences."""
    one, exposure = answer.borrow, answer.exposure
    until, over = moment(exposure, "expire_time"), moment(exposure, "free_time")
    where = one.host_name or one.device
    units = "1 unit" if exposure.units == 1 else f"{exposure.units} units"
    return (
        f"{where} can not be told: its document works there until "
        f"{when.local(until, cli.now()) if until else 'its end'}. Until "
        f"{when.local(over, cli.now()) if over else 'then'}, {units} may be used twice; with this one, "
        f"{exposure.exposed_count} of {exposure.budget_count} units that may be exposed are."
    )


def confirmed(question: str) -> bool:
    """Whether a person says yes; nobody to ask is a usage error."""
    if not sys.stdin.isatty():
        raise click.UsageError("Nobody can be asked here: give --yes, or --dry-run.")
    return click.confirm(question, err=True)
