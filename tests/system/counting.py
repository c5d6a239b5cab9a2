"""A keypegd that writes down what it does for a call: `python counting.py FILE PROGRAM ARGUMENT...`

Promises: a line of FILE for each statement that the database is sent, and for each password that is checked, with what
that costs; there before the call is answered. What it serves, and how, is unchanged.

Leaves to others: which lines belong to which call (test_alike.py).
"""

from __future__ import annotations

import os
import runpy
import sys
from typing import Any

from sqlalchemy import Engine, event

from keypeg_server.service.passwords import Passwords


def main() -> None:
    """Run the program, counted."""
    file, sys.argv = sys.argv[1], sys.argv[2:]
    lines = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def line(text: str) -> None:
        os.write(lines, (" ".join(text.split()) + "\n").encode())

    def statement(_c: Any, _cursor: Any, text: str, _p: Any, _x: Any, _many: bool) -> None:
        line(text)

    check = Passwords._check

    async def checked(self: Passwords, password: str, kept: str) -> bool:
        line(f"password {' '.join(kept.split('$')[1:4])}")
        return await check(self, password, kept)

    event.listen(Engine, "before_cursor_execute", statement)
    Passwords._check = checked  # type: ignore[method-assign]
    runpy.run_path(sys.argv[0], run_name="__main__")


if __name__ == "__main__":
    main()
