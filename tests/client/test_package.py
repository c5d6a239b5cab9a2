"""The package as an app sees it."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import pytest

import keypeg

PACKAGE = Path(keypeg.__file__).parent


def modules_after(statement: str) -> set[str]:
    code = f"import sys, json\n{statement}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout))


def test_importing_it_loads_neither_grpc_nor_protobuf():
    loaded = modules_after("import keypeg")
    assert not {name for name in loaded if name.split(".")[0] in ("grpc", "google", "cryptography")}


@pytest.mark.parametrize("name", ["errors", "events", "State", "Lease", "KeypegError"])
def test_names_that_need_no_grpc_do_not_load_it(name):
    assert "grpc" not in modules_after(f"import keypeg; keypeg.{name}")


def test_the_public_names_are_these():
    assert keypeg.__all__ == [
        "Answer",
        "CloudSession",
        "CloudState",
        "Event",
        "KeypegError",
        "Launch",
        "Lease",
        "Place",
        "Progress",
        "Reason",
        "Seat",
        "SeatStage",
        "Session",
        "State",
        "Step",
        "__version__",
        "aio",
        "errors",
        "events",
        "launch",
        "open_session",
    ]
    for name in keypeg.__all__:
        assert getattr(keypeg, name) is not None
        assert name in dir(keypeg)


def test_the_twins_have_the_same_surface():
    from keypeg import aio, launch_twin, session

    for twin in ("Session", "Seat", "CloudSession", "Launch"):
        other = launch_twin if twin == "Launch" else session
        here, there = (
            {name for name in vars(getattr(module, twin)) if not name.startswith("_")}
            for module in (aio, other)
        )
        assert here == there
    assert aio.__all__ == sorted([*session.__all__, *launch_twin.__all__])


def test_what_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = keypeg.nothing


def test_it_is_typed():
    assert (PACKAGE / "py.typed").is_file()


def test_the_minimal_example_is_minimal():
    source = (PACKAGE.parents[2] / "examples" / "minimal.py").read_text()
    imported = {
        alias.name
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert imported == {"keypeg"}
    assert len(source.splitlines()) <= 20
