"""Where programs of this computer find each other."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import pytest

from keypeg import discovery


def test_the_session_s_own_directory_is_taken_where_there_is_one(tmp_path: Path) -> None:
    found = discovery.runtime_dir({"XDG_RUNTIME_DIR": str(tmp_path)})
    assert found == tmp_path / "keypeg"
    assert discovery.bridge_socket({"XDG_RUNTIME_DIR": str(tmp_path)}) == found / "bridge.sock"


@pytest.mark.parametrize("environment", [{}, {"XDG_RUNTIME_DIR": ""}], ids=["unset", "empty"])
def test_without_one_it_is_a_directory_of_this_user_alone_and_nobody_is_warned(
    environment: dict[str, str],
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = discovery.runtime_dir(environment)
    assert str(os.getuid()) in str(found)


def test_a_file_that_is_no_socket_is_no_bridge(tmp_path: Path) -> None:
    (tmp_path / "keypeg").mkdir()
    (tmp_path / "keypeg" / "bridge.sock").write_text("")
    assert discovery.bridge_target("", {"XDG_RUNTIME_DIR": str(tmp_path)}) is None
