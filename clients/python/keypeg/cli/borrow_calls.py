"""Borrowing step by step, and what is borrowed: what is asked of the server, and what of this computer's shelf.

Promises: the server's answer is on the disk before it is shown; a refusal leaves nothing behind; an answer that
was lost leaves the request, to be asked again with the same id.

Leaves to others: giving back (borrow_ends), options and printing (borrow), locks and files (keypeg.borrow_shelf).
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from keypeg import errors, fingerprint, hostinfo, names, profile
from keypeg.borrow_place import Asked, Kept
from keypeg.borrow_shelf import Shelf
from keypeg.cli import resolve
from keypeg.cli.context import Cli
from keypeg.cli.link import Link, request_id
from keypeg.envelope import (
    Ed25519Signer,
)
from keypeg.errors import KeypegError, Reason
from keypeg.v1 import (
    borrow_pb2,
    borrow_service_pb2,
    borrow_service_pb2_grpc,
    product_pb2,
    proof_pb2,
    session_pb2,
)

# After these nobody knows whether the server has done it; the request is kept, and asked again.
UNKNOWN: Final = (
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


def stub(link: Link) -> borrow_service_pb2_grpc.BorrowServiceAsyncStub:
    """Where borrows are asked for."""
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
        if error.reason in _NOT_DONE or (not again and error.reason not in UNKNOWN):
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
        answer = await link.call(stub(link).CreateBorrow, request)
    except errors.AlreadyExists as error:
        # It was asked so long ago that the server does not remember the request: it names the borrow.
        name = error.metadata.get("resource", "")
        if not names.BORROW.matches(name):
            raise
        found = await link.call(
            stub(link).GetBorrow, borrow_service_pb2.GetBorrowRequest(name=name)
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
    answer = await link.call(stub(link).RenewBorrow, request)
    here.keep(kept.directory, answer.proof, cli.now())
    return answer.borrow


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
