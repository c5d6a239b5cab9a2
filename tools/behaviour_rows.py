"""The rows of docs/behaviours.md, and what a test run says about them.

Promises: one parser of the document and one meaning of "kept" for the pytest plugin, `tools/behaviours`
and `tools/check`. A malformed document is a list of findings with line numbers, never half a list of rows.

Leaves to others: running tests (pytest), recording them (behaviours_plugin), printing (behaviours).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

ROOT: Final = Path(__file__).resolve().parent.parent
DOCUMENT: Final = ROOT / "docs" / "behaviours.md"
REPORT: Final = ROOT / "build" / "behaviours.json"
STATES: Final = ("planned", "kept")

_ROW: Final = re.compile(r"^\| (?P<id>[A-Z]+-[1-9][0-9]*) \| (?P<text>[^|]+) \| (?P<state>\w+) \|$")
_GROUP: Final = re.compile(r"^## (?P<prefix>[A-Z]+): \S")


@dataclass(frozen=True)
class Row:
    """One promise: its id, its sentence, and whether the document calls it kept."""

    id: str
    text: str
    claimed: bool


@dataclass(frozen=True)
class RowResult:
    """What a run showed about a row: its tests, as pytest's node ids, and whether it is kept."""

    id: str
    kept: bool
    tests: tuple[str, ...]
    left_out: tuple[str, ...] = ()  # tests of it that the run was told to leave out


class MalformedDocumentError(Exception):
    """The document breaks its own form; `findings` has a line for each place."""

    def __init__(self, findings: Sequence[str]) -> None:
        super().__init__("\n".join(findings))
        self.findings = tuple(findings)


def parse(text: str) -> list[Row]:
    """The rows in the order of the document; raises MalformedDocumentError."""
    rows: list[Row] = []
    findings: list[str] = []
    prefix = ""
    seen: set[str] = set()
    for number, line in enumerate(text.splitlines(), start=1):
        if group := _GROUP.match(line):
            prefix = group["prefix"]
        if not line.startswith("|") or line.startswith(("| id |", "|---")):
            continue
        row = _ROW.match(line)
        if row is None:
            findings.append(
                f"line {number}: a row reads `| ID-1 | sentence | state |`: {line[:60]}"
            )
            continue
        if row["state"] not in STATES:
            findings.append(f"line {number}: {row['id']}: state is one of {', '.join(STATES)}")
        if row["id"].split("-")[0] != prefix:
            findings.append(
                f"line {number}: {row['id']} stands below the heading of {prefix or 'none'}"
            )
        if row["id"] in seen:
            findings.append(f"line {number}: {row['id']} is there twice")
        seen.add(row["id"])
        rows.append(Row(row["id"], row["text"].strip(), row["state"] == "kept"))
    if not rows:
        findings.append("there is no row in it")
    if findings:
        raise MalformedDocumentError(findings)
    return rows


def load(document: Path = DOCUMENT) -> list[Row]:
    """The rows of the document on disk."""
    return parse(document.read_text(encoding="utf-8"))


def judge(
    rows: Iterable[Row],
    tests: Mapping[str, Iterable[str]],
    passed: frozenset[str],
    left_out: Mapping[str, Iterable[str]] = MappingProxyType({}),
) -> list[RowResult]:
    """A result for every row: kept when at least one test of it ran, and all that ran passed."""
    results = []
    for row in rows:
        own = tuple(sorted(tests.get(row.id, ())))
        others = tuple(sorted(left_out.get(row.id, ())))
        results.append(RowResult(row.id, bool(own) and passed.issuperset(own), own, others))
    return results


def broken_promises(rows: Iterable[Row], results: Iterable[RowResult]) -> list[str]:
    """A sentence for each row that the document calls kept and the run does not show to be.

    Of a row whose tests were all left out, the run says nothing: another one does.
    """
    by_id = {result.id: result for result in results}
    findings = []
    for row in rows:
        result = by_id.get(row.id, RowResult(row.id, False, ()))
        if row.claimed and not result.kept and (result.tests or not result.left_out):
            why = "a test of it did not pass" if result.tests else "no test keeps it"
            findings.append(f"{row.id} is marked kept, but {why}")
    return findings


def write_report(results: Iterable[RowResult], path: Path) -> None:
    """Write the results as JSON: a list of `{id, kept, tests, left_out}`, one for every row."""
    data = [asdict(result) for result in results]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def read_report(path: Path) -> list[RowResult]:
    """What `write_report` wrote."""
    data = json.loads(path.read_text(encoding="utf-8"))
    return [
        RowResult(item["id"], item["kept"], tuple(item["tests"]), tuple(item["left_out"]))
        for item in data
    ]
