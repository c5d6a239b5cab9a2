"""The project's own rules over its files, that no linter knows.

Promises: each rule takes files and gives findings, `path:line: sentence`; it reads and changes nothing
else. Time is read in clock.py only, committed text speaks of the project alone, and spelling is American.

Leaves to others: which files there are, and printing (check).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

PRODUCT_ROOTS: Final = ("clients/python/keypeg/", "server/", "bridge/")
GENERATED_ROOT: Final = "clients/python/keypeg/v1/"

CLOCKS: Final = ("clients/python/keypeg/clock.py", "server/keypeg_server/clock.py")

CLOCK_READS: Final = {
    "time": frozenset({"time", "time_ns", "monotonic", "monotonic_ns", "clock_gettime"}),
    "datetime": frozenset({"now", "utcnow", "today"}),
    "date": frozenset({"today"}),
}

# Written in pieces, so that the rules do not find themselves.
PRIVATE_PLACES: Final = re.compile(r"(?<![\w.])/" + r"work/|\bshared" + r"/")
BRITISH: Final = re.compile(
    r"\b(licen" + r"ce\w*|(?:un)?authori" + r"s\w+|seriali" + r"s\w+|initiali" + r"s\w+|recogni"
    r"s\w+|normali" + r"s\w+|organi" + r"s\w+|colou" + r"r\w*|enr" + r"ol(?:ment|s)?)\b",
    re.IGNORECASE,
)


def clock_findings(root: Path, files: Iterable[PurePosixPath]) -> Iterator[str]:
    """Reads of a clock in product code outside of the two clock.py."""
    for path in files:
        name = str(path)
        in_product = name.startswith(PRODUCT_ROOTS) and not name.startswith(GENERATED_ROOT)
        if in_product and path.suffix == ".py" and name not in CLOCKS:
            yield from _clock_reads(name, (root / path).read_text(encoding="utf-8"))


def _clock_reads(name: str, source: str) -> Iterator[str]:
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        yield f"{name}:{error.lineno}: not Python: {error.msg}"
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = node.value
            last = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", "")
            if node.attr in CLOCK_READS.get(last, ()):
                yield f"{name}:{node.lineno}: {last}.{node.attr} belongs in clock.py; take a clock"
        elif isinstance(node, ast.ImportFrom) and node.module == "time":
            for alias in node.names:
                if alias.name in CLOCK_READS["time"]:
                    yield f"{name}:{node.lineno}: time.{alias.name} belongs in clock.py; take a clock"


def text_findings(root: Path, files: Iterable[PurePosixPath]) -> Iterator[str]:
    """Places outside of the project, and British spelling, in any committed text."""
    for path in files:
        if str(path).startswith(GENERATED_ROOT) and path.suffix in {".py", ".pyi"}:
            continue
        try:
            lines = (root / path).read_text(encoding="utf-8").splitlines()
        except UnicodeDecodeError:
            continue
        for number, line in enumerate(lines, start=1):
            if place := PRIVATE_PLACES.search(line):
                yield f"{path}:{number}: names {place[0]!r}, a place outside of the project"
            if word := BRITISH.search(line):
                yield f"{path}:{number}: {word[0]!r}: the project spells American"
