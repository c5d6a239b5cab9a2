"""`keypeg audit`: the usage and audit log as a file, and its verification without any server."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click

from keypeg.cli.arguments import account_option
from keypeg.cli.context import Cli, pass_cli
from keypeg.cli.lazy import Group
from keypeg.cli.values import Column, entry

if TYPE_CHECKING:
    from keypeg.cli.link import Link
    from keypeg.log import Seen
    from keypeg.log_verdict import Verdict

FINDINGS: Final[list[Column[Any]]] = [
    entry("WHAT", "kind"),
    entry("LINE", "line"),
    entry("RECORD", "record"),
    entry("FINDING", "finding"),
]


@click.group("audit", cls=Group)
def audit_group() -> None:
    """Who used what and what was changed: the log, and proof that it is whole.

    \b
    Example:
      keypeg audit export usage.log
      keypeg audit verify usage.log --root 3f0a...
    """


async def parts(link: Link, parent: str) -> AsyncIterator[Any]:
    """The parts of an export as they come."""
    import grpc.aio

    from keypeg import calls
    from keypeg.v1 import report_service_pb2 as pb
    from keypeg.v1 import report_service_pb2_grpc as rpc

    stub: Any = rpc.ReportServiceStub(link.channel)
    try:
        async for part in stub.ExportLog(pb.ExportLogRequest(parent=parent)):
            yield part
    except grpc.aio.AioRpcError as error:
        raise link.named(calls.translate(error), error.details() or "") from error


@audit_group.command("export")
@click.argument("file", metavar="FILE")
@click.option(
    "--publisher",
    metavar="PUBLISHER",
    help="The publisher's own log (products) instead of an account's.",
)
@account_option
@pass_cli
async def export(cli: Cli, file: str, publisher: str | None, account: str | None) -> None:
    """Write the whole log of the account to FILE; - is standard output.

    For the account's administrators and the publisher's staff. Keep the head
    that is printed at the end: with it, a later verification finds a log that
    was rolled back.

    \b
    Examples:
      keypeg audit export usage.log
      keypeg audit export usage.log --account umbra
    """
    from keypeg import names

    async with cli.server() as link:
        if publisher:
            parent = publisher if "/" in publisher else names.PUBLISHER.build(publisher)
        else:
            parent = await link.account(account)
        with _target(file) as out:
            heads = await _write(out, parts(link, parent))
    for name, seen in heads.items():
        cli.printer.note(f"{seen.sequence} records of {name}. Its head: {seen}")


@contextmanager
def _target(file: str) -> Iterator[BinaryIO]:
    """Where to write: standard output, or a file that is there when it is whole."""
    if file == "-":
        yield sys.stdout.buffer
        return
    part = Path(f"{file}.part")
    try:
        with part.open("wb") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        part.replace(file)
    finally:
        part.unlink(missing_ok=True)


async def _write(out: BinaryIO, stream: AsyncIterator[Any]) -> dict[str, Seen]:
    from keypeg import log

    heads: dict[str, log.Seen] = {}
    name = ""
    out.write(log.FIRST_LINE + b"\n")
    async for part in stream:
        kind = part.WhichOneof("part")
        if kind == "begin":
            begin = part.begin
            name = begin.log
            keys = begin.delegation.SerializeToString()
            out.write(log.begin_line(name, begin.sequence, begin.hash, keys) + b"\n")
            heads[name] = log.Seen(begin.sequence, begin.hash)
        elif kind == "records":
            for one in part.records.records:
                out.write(log.record_line(one.sequence, one.hash, one.body) + b"\n")
            last = part.records.records[-1]
            heads[name] = log.Seen(last.sequence, last.hash)
        elif kind == "head":
            out.write(log.head_line(part.head.SerializeToString()) + b"\n")
    return heads


@audit_group.command("verify")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option(
    "--root",
    metavar="HEX",
    help="The publisher's public key, as apps pin it. Without it, only the file itself vouches for its keys.",
)
@click.option(
    "--head",
    "earlier",
    metavar="HEAD",
    help="A head that an earlier export printed, or that export's file: finds a log that was rolled back.",
)
@pass_cli
def verify(cli: Cli, file: Path, root: str | None, earlier: str | None) -> None:
    """Verify FILE, an exported log; needs no server. Exit code 1 when something is wrong.

    Finds and locates what was cut, edited or reordered and, with --head, what
    was rolled back.

    \b
    Examples:
      keypeg audit verify usage.log --root 3f0a...
      keypeg audit verify usage.log --root 3f0a... --head last-month.log
    """
    from keypeg import log, log_verification

    key = _root(root)
    seen: dict[str, log.Seen] = {}
    if earlier:
        seen = _earlier(earlier)
    with file.open("rb") as lines:
        verdict = log_verification.verify(_bounded(lines), root=key, seen=seen)
    _show(cli, verdict)
    if not verdict.ok:
        click.get_current_context().exit(1)


def _root(text: str | None) -> bytes | None:
    if text is None:
        return None
    try:
        key = bytes.fromhex(text.strip())
    except ValueError:
        key = b""
    if len(key) != 32:
        raise click.BadParameter(
            "The root is no public key; it has 64 hexadecimal digits, as `keypegd init` printed it.",
            param_hint="--root",
        )
    return key


def _earlier(text: str) -> dict[str, Seen]:
    """Heads by log, from the text of one or from an earlier export."""
    from keypeg import log, log_verification

    path = Path(text)
    if not path.is_file():
        return {"": log.Seen.parse(text)}
    with path.open("rb") as lines:
        return {one.log: one.last for one in log_verification.verify(_bounded(lines)).logs}


def _bounded(lines: BinaryIO) -> Iterable[bytes]:
    """The lines of a file; one that is too long comes in pieces, which are no lines."""
    from keypeg import log

    return iter(lambda: lines.readline(log.LINE_BYTES + 1), b"")


def _show(cli: Cli, verdict: Verdict) -> None:
    if cli.form in ("json", "jsonl"):
        cli.printer.item(
            {
                "ok": verdict.ok,
                "pinned": verdict.pinned,
                "logs": [
                    {
                        "log": one.log,
                        "begins_after": one.begins_after,
                        "records": one.record_count,
                        "heads": one.head_count,
                        "head": str(one.last),
                    }
                    for one in verdict.logs
                ],
                "findings": [
                    {
                        "kind": one.kind,
                        "line": one.line,
                        "log": one.log,
                        "record": one.sequence,
                        "finding": one.sentence,
                    }
                    for one in verdict.findings
                ],
            },
            [],
        )
    else:
        rows = [
            {"kind": f.kind, "line": f.line, "record": f.sequence, "finding": f.sentence}
            for f in verdict.findings
        ]
        cli.printer.listing(rows, FINDINGS, nothing="Nothing was cut, edited or reordered.")
    for one in verdict.logs:
        removed = f" after {one.begins_after} that were removed" if one.begins_after else ""
        cli.printer.note(f"{one.log}: {one.record_count} records{removed}. Its head: {one.last}")
    if not verdict.pinned:
        cli.printer.note(
            "The keys are those that the file itself names; give --root to know that they are the publisher's."
        )
