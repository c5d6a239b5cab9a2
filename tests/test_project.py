"""The project about itself: what importing costs, and that its own tools find what they promise to find."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import subprocess
import sys
from importlib.metadata import requires, version
from pathlib import Path, PurePosixPath
from types import ModuleType

import pytest

import behaviour_rows
import check_rules
from keypeg._version import __version__

ROOT = Path(__file__).resolve().parent.parent

PAGE = """
## CLOUD: sessions
| id | behaviour | state |
|---|---|---|
| CLOUD-1 | It opens. | planned |
| CLOUD-2 | It moves. | kept |
"""


# The distribution


def test_importing_keypeg_loads_no_grpc_and_no_server() -> None:
    code = "import sys, keypeg; print([m for m in sys.modules if m.split('.')[0] in {'grpc', 'google', 'click', 'keypeg_server', 'keypeg_bridge', 'sqlalchemy'}])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_version_is_the_distribution_s() -> None:
    assert __version__ == version("keypeg")


def test_a_protected_app_installs_five_libraries_and_no_more() -> None:
    plain = [one for one in requires("keypeg") or [] if "extra ==" not in one]
    names = sorted(one.split(">")[0].strip() for one in plain)
    assert names == [
        "cryptography",
        "googleapis-common-protos",
        "grpcio",
        "platformdirs",
        "protobuf",
    ]


# The document of behaviours


def test_the_document_of_behaviours_is_well_formed() -> None:
    rows = behaviour_rows.load()
    assert len(rows) == 90
    assert len({row.id for row in rows}) == 90


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (PAGE + "| CLOUD-2 | Again. | planned |\n", "line 7: CLOUD-2 is there twice"),
        (PAGE + "| CLOUD-3 | No state. |\n", "line 7: a row reads"),
        (
            PAGE + "| CLOUD-3 | Hopeful. | soon |\n",
            "line 7: CLOUD-3: state is one of planned, kept",
        ),
        (PAGE + "| KEY-1 | Elsewhere. | planned |\n", "KEY-1 stands below the heading of CLOUD"),
        ("# nothing\n", "there is no row in it"),
    ],
    ids=["twice", "two columns", "unknown state", "wrong group", "empty"],
)
def test_a_malformed_document_is_refused_with_its_line(broken: str, said: str) -> None:
    with pytest.raises(behaviour_rows.MalformedDocumentError) as refused:
        behaviour_rows.parse(broken)
    assert said in str(refused.value)


@pytest.mark.parametrize(
    ("tests", "passed", "kept", "broken"),
    [
        ({}, set(), [], ["CLOUD-2 is marked kept, but no test keeps it"]),
        (
            {"CLOUD-2": ["t1", "t2"]},
            {"t1"},
            [],
            ["CLOUD-2 is marked kept, but a test of it did not pass"],
        ),
        ({"CLOUD-2": ["t1", "t2"]}, {"t1", "t2"}, ["CLOUD-2"], []),
        ({"CLOUD-1": ["t1"], "CLOUD-2": ["t1"]}, {"t1"}, ["CLOUD-1", "CLOUD-2"], []),
    ],
    ids=["no test", "one of two fails", "all pass", "more than the page says"],
)
def test_a_row_is_kept_when_it_has_tests_and_all_of_them_pass(
    tests: dict[str, list[str]], passed: set[str], kept: list[str], broken: list[str]
) -> None:
    rows = behaviour_rows.parse(PAGE)
    results = behaviour_rows.judge(rows, tests, frozenset(passed))
    assert [result.id for result in results if result.kept] == kept
    assert behaviour_rows.broken_promises(rows, results) == broken


def test_of_a_row_whose_tests_were_left_out_a_run_says_nothing() -> None:
    rows = behaviour_rows.parse(PAGE)
    left_out = {"CLOUD-2": ["t1"]}
    results = behaviour_rows.judge(rows, {}, frozenset(), left_out)
    assert not any(result.kept for result in results)
    assert behaviour_rows.broken_promises(rows, results) == []
    results = behaviour_rows.judge(rows, {"CLOUD-2": ["t2"]}, frozenset(), left_out)
    assert behaviour_rows.broken_promises(rows, results) != []


MARKED = """
import pytest

@pytest.fixture
def broken_end():
    yield
    raise RuntimeError("teardown")

@pytest.mark.behaviour("{row}")
def test_passes(): pass

@pytest.mark.behaviour("SEAT-1")
def test_fails(): assert False

@pytest.mark.behaviour("SEAT-2")
def test_is_skipped(): pytest.skip("not here")

@pytest.mark.behaviour("SEAT-3")
@pytest.mark.xfail
def test_is_expected_to_fail(): assert False

@pytest.mark.behaviour("SEAT-5")
def test_breaks_after_its_end(broken_end): pass

@pytest.mark.behaviour("SEAT-6", "SEAT-7")
@pytest.mark.parametrize("n", [1, 2])
def test_is_a_table(n): pass

@pytest.mark.behaviour("SEAT-8")
@pytest.mark.long
def test_takes_its_time(): assert False
"""


def run_marked(folder: Path, row: str, *more: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Run a small suite of its own below `folder` under this project's conftest; its report's path."""
    (folder / "conftest.py").write_text((ROOT / "tests" / "conftest.py").read_text())
    (folder / "test_marked.py").write_text(MARKED.replace("{row}", row))
    report = folder / "report.json"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command += ["-c", str(ROOT / "pyproject.toml"), "--rootdir", str(folder)]
    command += [
        "-m",
        "not long",
        f"--behaviours-report={report}",
        str(folder / "test_marked.py"),
        *more,
    ]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False), report


@pytest.mark.parametrize("more", [[], ["-n", "2"]], ids=["one process", "two processes"])
def test_the_report_holds_every_row_and_believes_only_passing_tests(
    tmp_path: Path, more: list[str]
) -> None:
    done, report = run_marked(tmp_path, "CLOUD-3", *more)
    assert done.returncode == 1, done.stdout
    rows = {item["id"]: item for item in json.loads(report.read_text())}
    assert set(rows) == {row.id for row in behaviour_rows.load()}
    assert {row_id for row_id, item in rows.items() if item["kept"]} == {
        "CLOUD-3",
        "SEAT-6",
        "SEAT-7",
    }
    assert len(rows["SEAT-6"]["tests"]) == 2
    assert rows["LIC-1"] == {"id": "LIC-1", "kept": False, "tests": [], "left_out": []}
    assert rows["SEAT-8"]["tests"] == []
    assert len(rows["SEAT-8"]["left_out"]) == 1
    assert "SEAT-8 has tests, but this run left them out" in done.stdout
    assert "SEAT-8 is marked kept" not in done.stdout


def test_a_marker_that_names_no_row_stops_the_run(tmp_path: Path) -> None:
    done, _ = run_marked(tmp_path, "CLOUD-999")
    assert done.returncode not in (0, 1)
    assert "CLOUD-999" in done.stdout + done.stderr
    assert "1 passed" not in done.stdout


# The project's own rules


@pytest.mark.parametrize(
    ("path", "source", "found"),
    [
        ("server/keypeg_server/a.py", "import time\nnow = time.monotonic()\n", ["time.monotonic"]),
        (
            "server/keypeg_server/a.py",
            "import datetime\ndatetime.datetime.now()\n",
            ["datetime.now"],
        ),
        ("bridge/keypeg_bridge/a.py", "from time import time_ns\n", ["time.time_ns"]),
        ("bridge/keypeg_bridge/a.py", "def f(clock=None):\n    return clock.now()\n", []),
        ("server/keypeg_server/clock.py", "import time\nnow = time.monotonic()\n", []),
        ("tests/test_a.py", "import time\nnow = time.monotonic()\n", []),
    ],
    ids=["monotonic", "datetime", "from time", "a clock passed in", "the clock itself", "a test"],
)
def test_clocks_are_read_in_clock_py_only(
    tmp_path: Path, path: str, source: str, found: list[str]
) -> None:
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).write_text(source)
    findings = list(check_rules.clock_findings(tmp_path, [PurePosixPath(path)]))
    assert len(findings) == len(found)
    assert all(name in finding for name, finding in zip(found, findings, strict=True))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("see /" + "work/x", 1),
        ("see sha" + "red/x", 1),
        ("the licen" + "ce", 1),
        ("authori" + "sation", 1),
        ("a license, shared by all; src/work/x; authorization", 0),
    ],
    ids=["a place", "a folder", "licen_e", "authori_ation", "our own words"],
)
def test_committed_text_speaks_of_the_project_in_american_english(
    tmp_path: Path, text: str, found: int
) -> None:
    (tmp_path / "page.md").write_text(text + "\n")
    assert len(list(check_rules.text_findings(tmp_path, [PurePosixPath("page.md")]))) == found


# What documents quote


def load_script(name: str) -> ModuleType:
    """A tool without a suffix, as a module."""
    loader = importlib.machinery.SourceFileLoader(name, str(ROOT / "tools" / name))
    spec = importlib.util.spec_from_loader(name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("page", "said"),
    [
        ("```python\nx = (\n```\n", "does not compile"),
        ("<!-- run -->\n```python\nraise SystemExit(3)\n```\n", "fails (3)"),
        ("<!-- types -->\n```python\nx: int = 'a'\n```\n", "Incompatible types in assignment"),
        ("```console\n$ python -m pip --help\nno such text\n```\n", "prints something else"),
        ("```console\n$ keypeg-nobody --help\n```\n", "does not run"),
        ("see [there](nowhere.md)\n", "leads nowhere: nowhere.md"),
        ("type `make nothing`\n", "no target nothing"),
        ("```python\nraise SystemExit(3)\n```\n", ""),
        ("<!-- types -->\n```python\nx: int = 1\n```\n", ""),
        ("```console\n$ rm -rf everything\n```\n", ""),
        ("type `make test`, see [the page](page.md#top) and [afar](https://example.com)\n", ""),
    ],
    ids=lambda value: (
        value.strip().splitlines()[-1 if value.count("\n") < 2 else 1] if value else "fine"
    ),
)
def test_a_quote_in_a_document_must_be_true(
    page: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = load_script("docs_examples")
    (tmp_path / "page.md").write_text(page)
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    findings = list(docs.page_findings(tmp_path / "page.md", {"test"}))
    assert len(findings) == (1 if said else 0)
    assert all(said in finding for finding in findings)


def test_the_index_of_the_documents_links_every_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    docs = load_script("docs_examples")
    monkeypatch.setattr(docs, "ROOT", tmp_path)
    pages = [tmp_path / "docs" / name for name in ("README.md", "a.md", "adr/b.md", "adr/c.md")]
    (tmp_path / "docs" / "adr").mkdir(parents=True)
    for page in pages:
        page.write_text("see [a](a.md) and [b](adr/b.md#top)\n")
    assert list(docs.unlisted(pages)) == ["docs/README.md:1: no link to adr/c.md"]
