"""The pytest side of docs/behaviours.md: checks the markers, records what they showed.

Promises: a `behaviour` marker with an id that is not in the document stops the run before any test; with
`--behaviours-report=FILE` every row is written there at the end, the run's summary counts them, and the run
fails when a row that the document calls kept is not, where any test of it ran. A test counts as passed only when its
setup, call and teardown all passed: skipped and expected-to-fail tests keep nothing.

Leaves to others: the document and the meaning of "kept" (behaviour_rows).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import behaviour_rows

MARKER = "behaviour"
LEFT_OUT = "behaviours_left_out"  # of what a process of a parallel run hands over at its end


def ids_of(item: pytest.Item) -> list[str]:
    """The ids that the test's markers name; raises UsageError for a marker without any."""
    ids: list[str] = []
    for marker in item.iter_markers(MARKER):
        if not marker.args or marker.kwargs or not all(isinstance(a, str) for a in marker.args):
            raise pytest.UsageError(f'{item.nodeid}: write @pytest.mark.behaviour("CLOUD-3")')
        ids.extend(marker.args)
    return list(dict.fromkeys(ids))


class BehaviourRecorder:
    """Gathers, over one run, which tests name which rows and which of them passed."""

    def __init__(self, rows: Sequence[behaviour_rows.Row], report: Path | None) -> None:
        self._rows = rows
        self._report = report
        self._tests: dict[str, list[str]] = {}
        self._left_out: dict[str, set[str]] = {}
        self._passed: set[str] = set()
        self._failed: set[str] = set()
        self._results: list[behaviour_rows.RowResult] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        known = {row.id for row in self._rows}
        for item in items:
            for row_id in ids_of(item):
                if row_id not in known:
                    raise pytest.UsageError(
                        f"{item.nodeid} keeps {row_id}, but docs/behaviours.md has no such row"
                    )
                # Travels with the test's reports, also from another process of a parallel run.
                item.user_properties.append((MARKER, row_id))

    def pytest_deselected(self, items: Sequence[pytest.Item]) -> None:
        for item in items:
            for row_id in ids_of(item):
                self._left_out.setdefault(row_id, set()).add(item.nodeid)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        """Another process of a parallel run has ended, and tells what it left out."""
        for row_id, tests in getattr(node, "workeroutput", {}).get(LEFT_OUT, {}).items():
            self._left_out.setdefault(row_id, set()).update(tests)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        for name, row_id in report.user_properties:
            if name == MARKER and report.nodeid not in self._tests.get(str(row_id), []):
                self._tests.setdefault(str(row_id), []).append(report.nodeid)
        if report.when == "call" and report.passed and not hasattr(report, "wasxfail"):
            self._passed.add(report.nodeid)
        elif not report.passed:
            self._failed.add(report.nodeid)

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        handed_over = getattr(session.config, "workeroutput", None)
        if handed_over is not None:
            handed_over[LEFT_OUT] = {row: sorted(tests) for row, tests in self._left_out.items()}
            return
        if self._report is None:
            return
        passed = frozenset(self._passed - self._failed)
        self._results = behaviour_rows.judge(self._rows, self._tests, passed, self._left_out)
        behaviour_rows.write_report(self._results, self._report)
        if session.exitstatus == pytest.ExitCode.OK and self._broken():
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self._report is None:
            return
        kept = sum(result.kept for result in self._results)
        terminalreporter.section("behaviours")
        terminalreporter.line(f"{kept} of {len(self._rows)} rows are kept by passing tests")
        for result in self._results:
            if result.left_out and not result.tests:
                terminalreporter.line(f"{result.id} has tests, but this run left them out")
        for finding in self._broken():
            terminalreporter.line(finding, red=True)

    def _broken(self) -> list[str]:
        return behaviour_rows.broken_promises(self._rows, self._results)


def add_option(parser: pytest.Parser) -> None:
    """Declare `--behaviours-report`; called by tests/conftest.py."""
    parser.addoption(
        "--behaviours-report",
        metavar="FILE",
        type=Path,
        help="write {id, kept, tests} for every row of docs/behaviours.md",
    )


def register(config: pytest.Config) -> None:
    """Start recording; called by tests/conftest.py."""
    try:
        rows = behaviour_rows.load()
    except behaviour_rows.MalformedDocumentError as malformed:
        raise pytest.UsageError(f"docs/behaviours.md: {malformed}") from malformed
    recorder = BehaviourRecorder(rows, config.getoption("--behaviours-report"))
    config.pluginmanager.register(recorder, "keypeg-behaviours")
