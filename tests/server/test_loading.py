"""How a program is loaded."""

from __future__ import annotations

import gc
import subprocess
import sys

from keypeg_server.loading import loading


def test_what_is_loaded_is_not_looked_at_and_what_comes_after_is() -> None:
    with loading():
        assert not gc.isenabled()
        loaded: list[object] = [[]]
    assert gc.isenabled()
    try:
        assert not any(one is loaded for one in gc.get_objects())
        later: list[object] = [[]]
        assert any(one is later for one in gc.get_objects())
    finally:
        gc.unfreeze()


def test_a_server_on_sqlite_starts_without_what_it_has_no_use_for() -> None:
    program = (
        "import sys\n"
        "from keypeg_server.loading import loading\n"
        "with loading():\n"
        "    import keypeg_server.app, keypeg_server.main\n"
        "print(*sorted({name.partition('.')[0] for name, module in sys.modules.items() if module}))\n"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    ).stdout.split()
    assert "sqlalchemy" in loaded
    assert not {"alembic", "psycopg", "rich", "pygments"} & set(loaded)
