"""How a borrow ends: given back from here or by a file, or written off.

Promises: what is given up opens nothing here any more, and its statement is kept until somebody has handed it in.

Leaves to others: borrowing (borrow_calls), options and printing (borrow), locks and files (keypeg.borrow_shelf).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from keypeg import borrowed, errors
from keypeg.borrow_place import GivenUp
from keypeg.borrow_shelf import Shelf
from keypeg.cli import short, when
from keypeg.cli.borrow_calls import UNKNOWN, pick, stub
from keypeg.cli.context import Cli
from keypeg.cli.link import Link, request_id
from keypeg.cli.values import moment
from keypeg.envelope import RETURN_TYPE, TEXT_CHARACTERS, all_from_text, to_text
from keypeg.errors import KeypegError
from keypeg.files import read, write
from keypeg.v1 import borrow_pb2, borrow_service_pb2


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
            await link.call(stub(link).ReturnBorrow, request)
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
            found.append((await link.call(stub(link).ReturnBorrow, request)).borrow)
        except KeypegError as error:
            refusal = refusal or error
            if error.reason in UNKNOWN:
                break  # it would be the same for all others
    return found, refusal


async def write_off(
    link: Link, name: str, reason: str, *, dry_run: bool
) -> borrow_service_pb2.WriteOffBorrowResponse:
    """Gives a borrow up for lost, or asks what that would expose."""
    request = borrow_service_pb2.WriteOffBorrowRequest(
        name=name, request_id=request_id(), reason=reason, dry_run=dry_run
    )
    return await link.call(stub(link).WriteOffBorrow, request)


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
